import { Emu3Error } from '../../kernels/core/errors.js';
import type { AdapterChoice, AdapterKind } from './types.js';

/** Names an adapter by what it says of itself. */
export function describeAdapter(gpu: GPU, adapter: GPUAdapter): AdapterChoice {
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
  const text = [vendor, architecture, device, description].join(' ').toLowerCase();
  const kind: AdapterKind = /llvmpipe|lavapipe/.test(text)
    ? 'lavapipe'
    : text.includes('swiftshader')
      ? 'swiftshader'
      : isFallbackAdapter || /microsoft basic render|\bwarp\b/.test(text)
        ? 'software'
        : 'gpu';
  const mesa = mesaVersion(adapter);
  return {
    gpu,
    adapter,
    kind,
    software: kind !== 'gpu',
    description:
      kind === 'lavapipe'
        ? `lavapipe${mesa === undefined ? '' : ` (Mesa ${mesa})`}`
        : kind === 'swiftshader'
          ? 'SwiftShader'
          : [device || vendor || 'unnamed adapter', description && `(${description})`].filter(Boolean).join(' '),
  };
}

/** The Mesa release behind an adapter, e.g. `25.0.7`; undefined when its driver does not say. */
export function mesaVersion(adapter: GPUAdapter): string | undefined {
  return /mesa (\d+(?:\.\d+)*)/i.exec(adapter.info.description)?.[1];
}

/**
 * A fresh adapter of the same kind from the same entry point: an adapter is spent once it has made a device.
 * @throws Emu3Error `no-adapter` when the entry point offers none any more.
 */
export async function requestAgain(choice: AdapterChoice): Promise<AdapterChoice> {
  const adapter = await choice.gpu.requestAdapter({
    powerPreference: 'high-performance',
    forceFallbackAdapter: choice.software,
  });
  if (adapter === null) {
    throw new Emu3Error(`The ${choice.kind} adapter is gone.`, {
      code: 'no-adapter',
      where: choice.description,
      fix: 'Wait for the driver to recover, then start again from the last checkpoint.',
    });
  }
  return describeAdapter(choice.gpu, adapter);
}
