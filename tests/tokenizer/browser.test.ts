import chromium from '@sparticuz/chromium';
import { build } from 'esbuild';
import type { Browser, Page } from 'puppeteer';
import puppeteer from 'puppeteer';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fileURLToPath } from 'node:url';
import type * as TokenizerModule from '../../tokenizer/index.js';
import { buildTokenizerJson, nodeImageCodec, textTokenizerFromJson } from '../../tokenizer/index.node.js';
import { goldenBytes } from './golden.js';

declare global {
  /** The bundle's exports, in the page. */
  var tokenizer: typeof TokenizerModule;
}

let browser: Browser;
let page: Page;

beforeAll(async () => {
  const bundle = await build({
    entryPoints: [fileURLToPath(new URL('../../tokenizer/index.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'tokenizer',
    platform: 'browser',
    // esbuild fails on any node: import, which makes this also a check that the barrel is safe for browsers.
  });
  browser = await puppeteer.launch({
    executablePath: await chromium.executablePath(),
    headless: 'shell',
    args: [
      '--no-sandbox',
      '--use-gl=angle',
      '--use-angle=swiftshader',
      '--enable-unsafe-swiftshader',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
  page = await browser.newPage();
  await page.addScriptTag({ content: bundle.outputFiles[0].text });
});

afterAll(() => browser.close());

/** Reads a file with the browser's codec; gives the bytes, or the error's code. */
async function decodeInPage(file: Uint8Array): Promise<{ size: number[]; rgb: number[] } | string> {
  return page.evaluate(async (bytes) => {
    try {
      const { rgb, height, width } = await tokenizer.browserImageCodec.decodeImage(Uint8Array.from(bytes));
      return { size: [height, width], rgb: Array.from(rgb) };
    } catch (error) {
      return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);
    }
  }, Array.from(file));
}

async function expectAsInNode(file: Uint8Array): Promise<void> {
  const { rgb, height, width } = await nodeImageCodec.decodeImage(file);
  expect(await decodeInPage(file)).toEqual({ size: [height, width], rgb: Array.from(rgb) });
}

describe('picture files in a browser', () => {
  it.each(['input.png', 'input_gray.png', 'input_rgba.png'])('reads %s as Node does', (name) =>
    expectAsInNode(goldenBytes(`image/${name}`)),
  );

  it('drops alpha without blending, also where nothing shows', async () => {
    const rgba = Uint8Array.from([10, 20, 30, 0, 200, 100, 50, 128, 1, 2, 3, 255]);
    await expectAsInNode(
      await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } })
        .png()
        .toBuffer(),
    );
  });

  it('converts a CMYK JPEG and applies the orientation tag', async () => {
    const red = new Uint8Array(24 * 8 * 3).map((_, index) => (index % 3 === 0 ? 220 : 20));
    const raw = { raw: { width: 24, height: 8, channels: 3 as const } };
    const cmyk = await decodeInPage(await sharp(red, raw).toColourspace('cmyk').jpeg({ quality: 95 }).toBuffer());
    if (typeof cmyk === 'string') expect.fail(cmyk);
    expect(cmyk.size).toEqual([8, 24]);
    expect(cmyk.rgb[0]).toBeGreaterThan(150);
    expect(cmyk.rgb[1]).toBeLessThan(110);
    const turned = await decodeInPage(await sharp(red, raw).withMetadata({ orientation: 6 }).jpeg().toBuffer());
    expect(typeof turned === 'string' ? turned : turned.size).toEqual([24, 8]);
  });

  it('names a damaged file', async () => {
    expect(await decodeInPage(new TextEncoder().encode('hello'))).toBe('image');
    expect(await decodeInPage(goldenBytes('image/input.png').subarray(0, 40))).toBe('image');
    expect(await decodeInPage(new Uint8Array())).toBe('image');
  });

  it('writes a PNG that Node reads back to the same bytes', async () => {
    const rgb = Uint8Array.from({ length: 9 * 7 * 3 }, (_, index) => (index * 29) % 256);
    const file = await page.evaluate(
      async (bytes) => Array.from(await tokenizer.browserImageCodec.encodePng(Uint8Array.from(bytes), 9, 7)),
      Array.from(rgb),
    );
    expect(await nodeImageCodec.decodeImage(Uint8Array.from(file))).toEqual({ rgb, height: 7, width: 9 });
  });
});

it('gives the same ids in a browser', async () => {
  const { json } = buildTokenizerJson(['a tiger, noto style', 'a cat, noto style'], {
    vocabularySize: 320,
    visualCount: 8,
  });
  const text = "It's a tiger — 90*90 猫 🐯";
  const ids = await page.evaluate((file, words) => tokenizer.textTokenizerFromJson(file).encode(words), json, text);
  expect(ids).toEqual(textTokenizerFromJson(json).encode(text));
  const ranks = Array.from({ length: 256 }, (_, byte) => `${btoa(String.fromCharCode(byte))} ${byte}\n`).join('');
  const bytes = await page.evaluate(
    (file, words) => tokenizer.textTokenizerFromTiktoken(file).encode(words),
    ranks,
    text,
  );
  expect(bytes).toEqual(Array.from(new TextEncoder().encode(text)));
});
