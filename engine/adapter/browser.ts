import { Emu3Error } from '../../kernels/core/errors.js';
import { describeAdapter } from './describe.js';
import type { AdapterChoice } from './types.js';

/**
 * The browser's adapter, in a page or in a worker.
 * @throws Emu3Error `no-adapter` when the browser has no WebGPU or offers no adapter.
 */
export async function requestAdapterBrowser(): Promise<AdapterChoice> {
  const gpu = 'gpu' in navigator ? navigator.gpu : undefined;
  if (gpu === undefined) {
    throw new Emu3Error(isSecureContext ? 'This browser has no WebGPU.' : 'WebGPU needs a secure page.', {
      code: 'no-adapter',
      where: 'navigator.gpu',
      fix: isSecureContext
        ? 'Use a recent Chrome, Edge, Firefox or Safari with WebGPU enabled.'
        : 'Open the page over https or from localhost.',
    });
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter === null) {
    throw new Emu3Error('The browser has WebGPU but offers no adapter.', {
      code: 'no-adapter',
      where: 'navigator.gpu.requestAdapter',
      fix: 'Turn hardware acceleration on in the browser settings, and update the graphics driver (see chrome://gpu).',
    });
  }
  return describeAdapter(gpu, adapter);
}
