/** `npm run demo`: serves the page with the shipped model on this machine alone. Runs from the bundle in dist/. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Emu3Error } from '../../kernels/core/errors.js';
import { serveFolders } from './static-server.node.js';

const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8064' },
      model: { type: 'string', default: beside('../demos/nano/model') },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new Emu3Error(`${values.port} is no port.`, { code: 'argument', where: '--port', fix: 'Give 0 to 65535.' });
  }
  if (!existsSync(values.model)) {
    throw new Emu3Error('There is no model to serve.', {
      code: 'missing',
      where: values.model,
      fix: 'Give its folder with --model.',
    });
  }
  const { url } = await serveFolders({ '': beside('web'), '/model': values.model }, port);
  console.log(`${url}/\nOpen it in a browser with WebGPU; stop with Ctrl+C.`);
}

try {
  await main();
} catch (error) {
  // Bad options come from parseArgs as a TypeError.
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
