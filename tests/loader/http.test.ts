import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { encodeSafetensors, openCheckpoint, openHttpSource, urlFolder } from '../../loader/index.js';
import { expectError, rejection } from './support.js';

type Handler = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => void;

const once = { attempts: 1 };
const quick = { firstDelay: 1 };

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
      const source = await openHttpSource(`${base}model.safetensors`, { retry: once });
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
    expectError(await rejection(openHttpSource('http://127.0.0.1:1/x', { retry: once })), 'io', 'CORS');
    const signal = AbortSignal.abort();
    expectError(await rejection(openHttpSource(`${base}x`, { signal })), 'aborted');
    handler = () => {};
    const late = rejection(openHttpSource(`${base}x`, { signal: AbortSignal.timeout(50) }));
    expectError(await late, 'aborted');
  });

  test('a connection that breaks is taken up where it broke', async () => {
    const source = await openHttpSource(`${base}model.safetensors`, { retry: quick });
    const asked: string[] = [];
    handler = (request, response, file) => {
      asked.push(request.headers.range ?? '');
      const [first, last] =
        /(\d+)-(\d+)$/
          .exec(request.headers.range ?? '')
          ?.slice(1)
          .map(Number) ?? [];
      const part = file.subarray(first, last + 1);
      response.writeHead(206, {
        'content-range': `bytes ${first}-${last}/${file.length}`,
        'content-length': part.length,
      });
      // A third at a time, then the line goes dead.
      if (part.length < 100) response.end(part);
      else response.write(part.subarray(0, Math.ceil(part.length / 3)), () => response.destroy());
    };
    const read = await source.read(1000, 90_000);
    expect(Buffer.compare(read, bytes.subarray(1000, 91_000))).toBe(0);
    expect(asked.length).toBeGreaterThan(5);
    expect(new Set(asked).size).toBe(asked.length);
  });

  test('a connection that never gets anywhere is given up', async () => {
    const source = await openHttpSource(`${base}model.safetensors`, { retry: quick });
    let tries = 0;
    handler = (_request, response) => {
      tries += 1;
      response.destroy();
    };
    expectError(await rejection(source.read(0, 100)), 'io', 'could not be downloaded');
    expect(tries).toBe(5);
  });

  test.each([429, 500, 502, 503, 504])('a server that is busy (%d) is asked again', async (status) => {
    let busy = 3;
    handler = (request, response, file) => {
      if (busy-- > 0) response.writeHead(status, { 'retry-after': '0' }).end();
      else honest(request, response, file);
    };
    const source = await openHttpSource(`${base}model.safetensors`, { retry: quick });
    expect(source.size).toBe(bytes.length);
    busy = Infinity;
    const error = await rejection(openHttpSource(`${base}model.safetensors`, { retry: quick }));
    expectError(error, 'io', String(status));
  });

  test('a server says how long to wait, and a signal ends the wait', async () => {
    const started = performance.now();
    handler = (_request, response) => void response.writeHead(429, { 'retry-after': '60' }).end();
    const signal = AbortSignal.timeout(50);
    expectError(await rejection(openHttpSource(`${base}model.safetensors`, { signal })), 'aborted');
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test('a refusal is not asked again, and says why', async () => {
    let tries = 0;
    handler = (_request, response) => {
      tries += 1;
      response.writeHead(403, { 'x-error-message': 'Access to model a/b is restricted.' }).end();
    };
    expectError(await rejection(openHttpSource(`${base}x`)), 'io', '403', 'Access to model a/b is restricted.');
    expect(tries).toBe(1);
  });

  test('a file that is replaced by one of the same size, or cut short, while it is read', async () => {
    const tagged =
      (tag: string): Handler =>
      (request, response, file) => {
        response.setHeader('etag', tag);
        honest(request, response, file);
      };
    handler = tagged('"a"');
    const source = await openHttpSource(`${base}model.safetensors`);
    expect((await source.read(0, 8)).length).toBe(8);
    handler = tagged('"b"');
    expectError(await rejection(source.read(0, 8)), 'io', 'changed', 'other content');
    handler = (_request, response) => void response.writeHead(416).end();
    expectError(await rejection(source.read(0, 8)), 'io', 'changed');
  });

  test('a size other than the listed one', async () => {
    const error = await rejection(openHttpSource(`${base}model.safetensors`, { size: 12 }));
    expectError(error, 'format', 'listed with 12');
  });

  test('more bytes than were asked for are not taken', async () => {
    const source = await openHttpSource(`${base}model.safetensors`);
    handler = (_request, response, file) =>
      void response.writeHead(206, { 'content-range': `bytes 0-7/${file.length}` }).end(file);
    expectError(await rejection(source.read(0, 8)), 'format');
  });

  test('a page served in place of a missing file counts as missing', async () => {
    handler = (_request, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    expect(await urlFolder(base).exists('config.json')).toBe(false);
    expectError(await rejection(urlFolder(base).readText('config.json')), 'missing', 'config.json');
  });
});
