import type { Browser, Page } from 'puppeteer';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { StaticServer } from '../../demos/web/static-server.node.js';
import { exportVideo } from '../../demos/web/video-export.js';
import { openChromium } from './chromium.js';
import { servePage } from './serve-page.js';
import type { Exported, ExportFailure } from './video-page.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

type ExportAndRead = (
  container: 'mp4' | 'webm',
  count: number,
  size: { height: number; width: number },
  framesPerSecond: number,
  abortAt?: number,
) => Promise<Exported | ExportFailure>;

let folder: string;
let server: StaticServer;
let browser: Browser;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-video-'));
  [server, browser] = [await servePage(folder, './video-page.ts'), await openChromium()];
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

/** @param before runs in the page before its own code. */
async function openPage(before?: () => void): Promise<Page> {
  const page = await browser.newPage();
  if (before !== undefined) await page.evaluateOnNewDocument(before);
  await page.goto(`${server.url}/`);
  await page.waitForSelector('body[data-state=ready]');
  return page;
}

function exportIn(page: Page, ...args: Parameters<ExportAndRead>): Promise<Exported | ExportFailure> {
  return page.evaluate(
    (...given: Parameters<ExportAndRead>) =>
      (window as unknown as { exportAndRead: ExportAndRead }).exportAndRead(...given),
    ...args,
  );
}

const size = { height: 64, width: 96 };

/** Whether the browser says itself that it encodes a codec. */
function encodes(page: Page, codec: string): Promise<boolean> {
  return page.evaluate(
    async (name, { height, width }) =>
      (await VideoEncoder.isConfigSupported({ codec: name, height, width, bitrate: 1e6, framerate: 8 })).supported ===
      true,
    codec,
    size,
  );
}

describe.each([
  ['webm', ['vp09.00.10.08', 'vp8', 'av01.0.00M.08']],
  ['mp4', ['avc1.42001e', 'av01.0.00M.08', 'vp09.00.10.08', 'hev1.1.6.L93.B0']],
] as const)('%s', (container, codecs) => {
  test('holds all frames at their times, or the missing encoders are named', async () => {
    const page = await openPage();
    const supported = await Promise.all(codecs.map((codec) => encodes(page, codec)));
    const result = await exportIn(page, container, 12, size, 8);
    if (!supported.includes(true)) {
      expect(result).toMatchObject({ code: 'unsupported', message: expect.stringContaining(container) as unknown });
      return;
    }
    if ('code' in result) throw new Error(result.message);
    expect(result).toMatchObject({ ...size, type: `video/${container}` });
    expect(result.times.length).toBe(12);
    result.times.forEach((time, index) => expect(time).toBeCloseTo(index / 8, 2));
    expect(result.duration).toBeCloseTo(1.5, 2);
    result.colours.forEach((colour, index) => {
      colour.forEach((mean, channel) => expect(Math.abs(mean - (channel === index % 3 ? 200 : 40))).toBeLessThan(25));
    });
    await page.close();
  });

  test('ends when it is cancelled', async () => {
    const page = await openPage();
    const result = await exportIn(page, container, 12, size, 8, 3);
    const supported = await Promise.all(codecs.map((codec) => encodes(page, codec)));
    expect(result).toMatchObject({ code: supported.includes(true) ? 'aborted' : 'unsupported' });
    await page.close();
  });

  test('is refused with a remedy where the browser encodes nothing', async () => {
    const page = await openPage(() => {
      VideoEncoder.isConfigSupported = async (config) => ({ config, supported: false });
    });
    const result = await exportIn(page, container, 4, size, 8);
    expect(result).toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/encodes none of .*Try/) as unknown,
    });
    await page.close();
  });
});

test('a browser without WebCodecs is told so', async () => {
  const page = await openPage(() => {
    Reflect.deleteProperty(window, 'VideoEncoder');
  });
  const result = await exportIn(page, 'webm', 4, size, 8);
  expect(result).toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('no video encoder') as unknown,
  });
  await page.close();
});

test('frames that are no video are refused before the browser is asked', async () => {
  const frame = (height: number) => ({ height, width: 8, rgb: new Uint8Array(height * 24) });
  await expect(exportVideo([], 8, { container: 'mp4' })).rejects.toMatchObject({ code: 'argument' });
  await expect(exportVideo([frame(8), frame(16)], 8, { container: 'mp4' })).rejects.toMatchObject({
    code: 'shape',
    message: expect.stringMatching(/Frame 1 has 16 x 8/) as unknown,
  });
  const signal = AbortSignal.abort();
  await expect(exportVideo([frame(8)], 8, { container: 'mp4', signal })).rejects.toMatchObject({ code: 'aborted' });
});
