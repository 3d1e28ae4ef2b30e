import type { Browser, Page } from 'puppeteer';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { StaticServer } from '../../demos/web/static-server.node.js';
import type { CachePage } from './cache-page.js';
import { openChromium } from './chromium.js';
import { servePage } from './serve-page.js';

vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });

const model = './nano/';
let folder: string;
let server: StaticServer;
let browser: Browser;
let page: Page;
/** Requests for the transformer's weights since the last look. */
let requests = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-private-'));
  const nano = fileURLToPath(new URL('../../demos/nano/model', import.meta.url));
  [server, browser] = [await servePage(folder, './cache-page.ts', { '/nano': nano }), await openChromium()];
  page = await openPage();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

/** @param before runs in the page before its own code. */
async function openPage(before?: () => void): Promise<Page> {
  const opened = await browser.newPage();
  if (before !== undefined) await opened.evaluateOnNewDocument(before);
  opened.on('request', (request) => {
    if (request.url().endsWith('/nano/model.safetensors')) requests += 1;
  });
  await opened.goto(`${server.url}/`);
  await opened.waitForSelector('body[data-state=ready]');
  return opened;
}

/** Calls what the page offers. */
async function on<Name extends keyof CachePage>(
  name: Name,
  ...given: Parameters<CachePage[Name]>
): Promise<Awaited<ReturnType<CachePage[Name]>>> {
  requests = 0;
  const result: unknown = await page.evaluate(
    (called: string, args: unknown[]) => {
      const offered = (window as unknown as { cachePage: Record<string, (...all: unknown[]) => unknown> }).cachePage;
      return offered[called]?.(...args);
    },
    name,
    given,
  );
  return result as Awaited<ReturnType<CachePage[Name]>>;
}

/** Reading no more than the header takes: whether there is a file, its size, the header's length, the header. */
const headerRequests = 4;
let ids: number[] = [];
let key = '';

test('a packed model is kept in private files, and read from there by the next page', async () => {
  const first = await on('draw', model);
  expect(requests).toBeGreaterThan(headerRequests);
  expect(first.outcome?.kind).toBe('written');
  [ids, key] = [first.ids, first.outcome?.key ?? ''];
  expect(ids.length).toBeGreaterThan(64);
  const [entry, ...others] = await on('list');
  expect(others).toEqual([]);
  expect(entry).toMatchObject({ key, isRecent: true });
  expect(entry.bytes).toBeGreaterThan(1e6);
  expect(await on('files')).toEqual([`${key}.safetensors`]);
  await page.close();
  page = await openPage();
  const second = await on('draw', model);
  expect(requests).toBe(headerRequests);
  expect(second).toEqual({ ids, outcome: { kind: 'read', key } });
});

test.each(['flip', 'cut'] as const)('an entry that is damaged (%s) is dropped and made again', async (how) => {
  const [before] = await on('list');
  await on('damage', `${key}.safetensors`, 5000, how);
  const drawn = await on('draw', model);
  expect(requests).toBeGreaterThan(headerRequests);
  expect(drawn).toMatchObject({ ids, outcome: { kind: 'replaced', key, reason: { code: 'format' } } });
  const [after] = await on('list');
  expect(after.bytes).toBe(before.bytes);
  expect(await on('files')).toEqual([`${key}.safetensors`]);
});

test('a quota that is used up costs the entry, not the load, and leaves nothing behind', async () => {
  const session = await page.createCDPSession();
  const origin = server.url;
  expect(await on('remove', key)).toBe(true);
  // Room for what is there and half of an entry.
  await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: (await on('usage')) + 500_000 });
  try {
    const full = await on('draw', model);
    expect(full).toMatchObject({ ids, outcome: { kind: 'not written', key, reason: { code: 'disk-full' } } });
    expect(full.outcome?.reason?.message).toContain('quota');
    expect(await on('list')).toEqual([]);
    expect(await on('files')).toEqual([]);
  } finally {
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    await session.detach();
  }
  expect((await on('draw', model)).outcome).toEqual({ kind: 'written', key });
});

test('entries are listed and removed; what other code puts there is none, keys that are none are refused', async () => {
  await on('put', 'notes.txt');
  expect((await on('list')).map((entry) => entry.key)).toEqual([key]);
  expect(await on('has', key)).toBe(true);
  expect(await on('remove', key)).toBe(true);
  expect(await on('remove', key)).toBe(false);
  expect(await on('has', key)).toBe(false);
  expect(await on('list')).toEqual([]);
  expect(await on('has', '../key')).toMatchObject({ code: 'argument' });
});

test('a browser without private files is told so', async () => {
  await page.close();
  page = await openPage(() => Reflect.deleteProperty(Navigator.prototype, 'storage'));
  await expect(on('list')).rejects.toThrow(/no private file system.*HTTPS/s);
});
