import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.wasm': 'application/wasm',
};

export interface StaticServer {
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  url: string;
  close: () => Promise<void>;
}

/**
 * Serves folders on the loopback interface, with byte ranges as the loader asks for them.
 * @param folders URL prefix (`''` for the root, `/model`) to folder; the longest matching prefix wins.
 * @param port 0 takes a free one.
 * @throws Emu3Error `io` when the port is in use.
 */
export async function serveFolders(folders: Readonly<Record<string, string>>, port = 0): Promise<StaticServer> {
  const prefixes = Object.entries(folders).sort(([a], [b]) => b.length - a.length);
  const server = createServer((request, response) => {
    answer(prefixes, request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });
  await new Promise<void>((done, fail) => {
    server.once('error', (cause) => fail(portError(port, cause)));
    server.listen(port, '127.0.0.1', done);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('the server has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

function portError(port: number, cause: Error): Emu3Error {
  return new Emu3Error(`The port ${port} cannot be listened on.`, {
    code: 'io',
    where: '127.0.0.1',
    fix: 'Give another one with --port, or 0 for any that is free.',
    cause,
  });
}

async function answer(
  prefixes: readonly (readonly [string, string])[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
  const match = prefixes.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`));
  const root = match && resolve(match[1]);
  const file = match && join(match[1], path.slice(match[0].length), path.endsWith('/') ? 'index.html' : '');
  const found =
    file && root && resolve(file).startsWith(root + sep) ? await stat(file).catch(() => undefined) : undefined;
  if (!file || !found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = range ? Number(range[1]) : 0;
  const end = Math.min(range?.[2] ? Number(range[2]) : found.size - 1, found.size - 1);
  if (range && start > end) {
    response.writeHead(416, { 'content-range': `bytes */${found.size}` }).end();
    return;
  }
  response.writeHead(range ? 206 : 200, {
    'content-type': types[extname(file)] ?? 'application/octet-stream',
    'content-length': Math.max(0, end - start + 1),
    'accept-ranges': 'bytes',
    'cache-control': 'no-store',
    // Tells the loader whether a packed model that it keeps is of this file.
    etag: `"${found.size}-${found.mtimeMs}"`,
    ...(range && { 'content-range': `bytes ${start}-${end}/${found.size}` }),
  });
  if (request.method === 'HEAD' || found.size === 0) response.end();
  else createReadStream(file, { start, end }).pipe(response);
}
