import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeSafetensors, openCheckpoint, openHttpSource, urlFolder } from '../../loader/index.js';
import { expectError, rejection } from './support.js';

type Handler = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => void;

let base = '';
let sent = 0;
let handler: Handler;
let bytes: Uint8Array;

/** A server as it should be: 206 and Content-Range for ranges, 404 for what is not there. */
const honest: Handler = (request, response, file) => {
  if (!request.url?.startsWith('/m/model.safetensors')) {
    response.writeHead(404).end();
    return;
  }
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  if (!match) {
    response.writeHead(200).end(file);
    return;
  }
  const [first, last] = [Number(match[1]), Math.min(Number(match[2]), file.length - 1)];
  const part = file.subarray(first, last + 1);
  sent += part.length;
  response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${file.length}` }).end(part);
};

const server = createServer((request, response) => handler(request, response, bytes));

beforeAll(async () => {
  bytes = await encodeSafetensors([
    { name: 'small', dtype: 'F32', shape: [2], values: Float32Array.of(1, -2) },
    { name: 'large', dtype: 'U8', shape: [500_000], values: new Uint8Array(500_000).fill(7) },
  ]);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  base = `http://127.0.0.1:${address.port}/m/`;
});

beforeEach(() => {
  handler = honest;
  sent = 0;
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('models over HTTP', () => {
  test('only what is asked for is transferred', async () => {
    const checkpoint = await openCheckpoint(urlFolder(base));
    expect([...(await checkpoint.readFloat32('small'))]).toEqual([1, -2]);
    expect(sent).toBeLessThan(1000);
    expect((await checkpoint.readRaw('large')).every((value) => value === 7)).toBe(true);
    await checkpoint.close();
  });

  test('headers are passed on', async () => {
    let seen: string | undefined;
    handler = (request, response, file) => {
      seen = request.headers.authorization;
      honest(request, response, file);
    };
    await openHttpSource(`${base}model.safetensors`, { headers: { Authorization: 'Bearer token' } });
    expect(seen).toBe('Bearer token');
  });

  test('a server that ignores ranges', async () => {
    handler = (_request, response, file) => void response.writeHead(200).end(file);
    const error = await rejection(openHttpSource(`${base}model.safetensors`));
    expectError(error, 'io', 'ignores Range', 'model.safetensors');
  });

  test('a hidden or senseless Content-Range', async () => {
    for (const header of [{}, { 'content-range': 'bytes 0-0/*' }, { 'content-range': 'pages 1-2/3' }]) {
      handler = (_request, response) => void response.writeHead(206, header).end('x');
      expectError(await rejection(openHttpSource(`${base}model.safetensors`)), 'io', 'Content-Range');
    }
  });

  test('the wrong part, a short part, a file that changed', async () => {
    const answers: [Record<string, string>, string, 'format' | 'io'][] = [
      [{ 'content-range': `bytes 0-7/${bytes.length}` }, 'ended early', 'format'],
      [{ 'content-range': `bytes 8-15/${bytes.length + 1}` }, 'changed', 'io'],
      [{ 'content-range': `bytes 8-15/${bytes.length}` }, 'ended early', 'format'],
    ];
    for (const [header, mention, code] of answers) {
      handler = honest;
      const source = await openHttpSource(`${base}model.safetensors`);
      handler = (_request, response) => void response.writeHead(206, header).end('abc');
      expectError(await rejection(source.read(8, 8)), code, mention);
    }
  });

  test('missing, forbidden, empty, unreachable, aborted', async () => {
    expectError(await rejection(openHttpSource(`${base}other`)), 'missing', 'other');
    expectError(await rejection(openCheckpoint(urlFolder(`${base}sub`))), 'missing', 'sub');
    handler = (_request, response) => void response.writeHead(401).end();
    expectError(await rejection(openHttpSource(`${base}x`)), 'io', '401', 'token');
    handler = (_request, response) => void response.writeHead(416).end();
    expectError(await rejection(openHttpSource(`${base}x`)), 'format', 'empty');
    expectError(await rejection(openHttpSource('http://127.0.0.1:1/x')), 'io', 'CORS');
    const signal = AbortSignal.abort();
    expectError(await rejection(openHttpSource(`${base}x`, { signal })), 'aborted');
    handler = () => {};
    const late = rejection(openHttpSource(`${base}x`, { signal: AbortSignal.timeout(50) }));
    expectError(await late, 'aborted');
  });

  test('a page served in place of a missing file counts as missing', async () => {
    handler = (_request, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    expect(await urlFolder(base).exists('config.json')).toBe(false);
    expectError(await rejection(urlFolder(base).readText('config.json')), 'missing', 'config.json');
  });
});
