import type { Metafile } from 'esbuild';
import type { Browser, Page } from 'puppeteer';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPage } from '../../.config/bundle.mjs';
import { serveFolders } from '../../demos/web/static-server.node.js';
import type { StaticServer } from '../../demos/web/static-server.node.js';
import { createNodeEmu3 } from '../../node.js';
import { openChromium } from './chromium.js';

const model = fileURLToPath(new URL('../../demos/nano/model', import.meta.url));
const prompt = 'a red apple';

// Two engines share the cores of one machine here.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const patience = { timeout: 240_000 };

let work: string;
let server: StaticServer;
let browser: Browser;
let bundle: Metafile;
/** Loads the model once for the tests that draw. */
let page: Page;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'emu3-page-'));
  const web = join(work, 'web');
  bundle = await buildPage(web);
  server = await serveFolders({ '': web, '/model': model });
  browser = await openChromium();
  page = await openPage();
  await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
  await waitForState('ready');
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await rm(work, { recursive: true, force: true });
});

async function openPage(search = ''): Promise<Page> {
  const opened = await browser.newPage();
  await opened.goto(`${server.url}/${search}`);
  return opened;
}

async function waitForState(state: string): Promise<void> {
  await page.waitForFunction((wanted) => document.body.dataset['state'] === wanted, patience, state);
}

async function textOf(id: string, from = page): Promise<string> {
  return from.$eval(`#${id}`, (found) => found.textContent ?? '');
}

async function setValue(id: string, value: string): Promise<void> {
  await page.$eval(
    `#${id}`,
    (found, wanted) => {
      if (!(found instanceof HTMLInputElement || found instanceof HTMLSelectElement)) throw new Error('no control');
      found.value = wanted;
      found.dispatchEvent(new Event('input', { bubbles: true }));
    },
    value,
  );
}

/** Fails with what the page says when it shows an error. */
async function drawn(): Promise<number[]> {
  await page.waitForSelector('#result:not([hidden]), #error:not([hidden])', patience);
  expect(await page.$eval('#error', (found) => (found.hasAttribute('hidden') ? '' : found.textContent))).toBe('');
  return (await textOf('ids')).split(' ').map(Number);
}

interface CanvasPixels {
  /** Pixels along each side. */
  side: number;
  /** [side][side][4] */
  rgba: number[];
}

/** What is on the canvas once it has been drawn. */
async function canvasPixels(): Promise<CanvasPixels> {
  return page.$eval('#grid', async (canvas) => {
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    if (!(canvas instanceof HTMLCanvasElement)) throw new Error('no canvas');
    const context = canvas.getContext('2d');
    if (context === null) throw new Error('no context');
    return { side: canvas.width, rgba: [...context.getImageData(0, 0, canvas.width, canvas.height).data] };
  });
}

/** Opacity in the first and in the last cell: a place whose token is still to come is faint. */
async function cellOpacities(): Promise<[number, number]> {
  const { side, rgba } = await canvasPixels();
  const inside = Math.floor(side / 32);
  return [rgba[4 * (inside * side + inside) + 3], rgba[4 * ((side - inside) * side - inside) + 3]];
}

test('the bundles hold nothing of Node and load nothing from elsewhere', async () => {
  const sources = Object.keys(bundle.inputs);
  expect(sources).toContain('demos/web/worker.ts');
  expect(sources.filter((path) => path.includes('.node.ts') || path.startsWith('node:'))).toEqual([]);
  const imports = Object.values(bundle.outputs).flatMap((output) => output.imports);
  expect(imports).toEqual([]);
  for (const name of ['index.html', 'style.css']) {
    expect(await readFile(join(work, 'web', name), 'utf8')).not.toMatch(/(src|href|url)\s*[=(]\s*["']?(https?:)?\/\//);
  }
});

describe('drawing', () => {
  test('the ids and the picture are those of Node on the same kind of adapter', async () => {
    const { emu3, device, close } = await createNodeEmu3(model, { prefer: 'swiftshader', log: () => undefined });
    const settings = { prompt: `${prompt}, fluent style`, seed: 7, guidance: 2.5, temperature: 0.9 };
    const expected = await emu3.generate(settings);
    const adapter = device.choice.description;
    await close();

    expect(await textOf('adapter')).toContain(adapter);
    for (const [id, value] of Object.entries({ prompt, style: 'fluent', seed: '7', guidance: '2.5' })) {
      await setValue(id, value);
    }
    await setValue('temperature', '0.9');
    await page.click('#generate');
    expect(await drawn()).toEqual([...expected.ids]);
    expect(await textOf('used-seed')).toBe('7');

    const { rgb, height, width } = expected.image;
    const { side, rgba } = await canvasPixels();
    const differences: number[] = [];
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const at = 4 * (Math.floor(((row + 0.5) * side) / height) * side + Math.floor(((column + 0.5) * side) / width));
        for (let channel = 0; channel < 3; channel++) {
          differences.push(Math.abs(rgba[at + channel] - rgb[3 * (row * width + column) + channel]));
        }
      }
    }
    // The two builds of SwiftShader may round a pixel's value differently, no more.
    expect(Math.max(...differences)).toBeLessThanOrEqual(1);
  });

  test('rows of tokens show before the picture does, and cancelling ends it', async () => {
    await setValue('prompt', prompt);
    await page.evaluate(() => {
      const status = document.querySelector('#status');
      if (status === null) throw new Error('no status');
      const observer = new MutationObserver(() => {
        if (!status.textContent.startsWith('Row')) return;
        observer.disconnect();
        document.querySelector<HTMLButtonElement>('#cancel')?.click();
      });
      observer.observe(status, { childList: true });
    });
    await page.click('#generate');
    await page.waitForFunction(() => document.querySelector('#status')?.textContent === 'Cancelled.', patience);
    expect(await page.$eval('#result', (found) => found.hasAttribute('hidden'))).toBe(true);
    expect(await page.$eval('#generate', (found) => found.hasAttribute('disabled'))).toBe(false);
    const [first, last] = await cellOpacities();
    expect(first).toBe(255);
    expect(last).toBeLessThan(255);
  });

  test('the picture downloads as a PNG, and keys walk over its tokens', async () => {
    await page.focus('#prompt');
    await page.keyboard.press('Enter');
    const ids = await drawn();
    // A download in place of the browser's: the file's name and bytes.
    await page.evaluate(() => {
      HTMLAnchorElement.prototype.click = function () {
        const noted = document.body.dataset;
        void fetch(this.href).then(async (response) => {
          noted['name'] = this.download;
          noted['png'] = [...new Uint8Array(await response.arrayBuffer())].join(' ');
        });
      };
    });
    await page.click('#download-8');
    await page.waitForSelector('body[data-png]', patience);
    const noted = async (name: string): Promise<string> =>
      page.$eval('body', (body, key) => body.dataset[key] ?? '', name);
    expect(await noted('name')).toBe('a-red-apple-fluent-style-7.png');
    const bytes = (await noted('png')).split(' ').map(Number);
    const { width, height, format } = await sharp(Uint8Array.from(bytes)).metadata();
    const columns = Math.sqrt(ids.length + 1) | 0;
    expect([format, width, height]).toEqual(['png', 64 * columns, 64 * columns]);

    await page.focus('#grid');
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight'] as const) await page.keyboard.press(key);
    expect(await textOf('cell')).toMatch(/^Row 2, column 2: codebook entry \d+$/);
  });
});

describe('what goes wrong is told with its remedy', () => {
  async function errorOf(from = page): Promise<{ code: string; message: string; fix: string }> {
    await from.waitForSelector('#error:not([hidden])', patience);
    const code = await from.$eval('#error', (found) => found.getAttribute('data-code') ?? '');
    return { code, message: await textOf('error-message', from), fix: await textOf('error-fix', from) };
  }

  test('an empty prompt, after which a prompt still works', async () => {
    await setValue('prompt', '   ');
    await page.click('#generate');
    const { code, message, fix } = await errorOf();
    expect(code).toBe('prompt');
    expect(message).toMatch(/empty/);
    expect(fix).not.toBe('');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('prompt');
    await page.keyboard.type(prompt);
    await page.keyboard.press('Enter');
    expect((await drawn()).length).toBeGreaterThan(0);
  });

  test('a seed out of range', async () => {
    await setValue('seed', '-1');
    await page.click('#generate');
    expect((await errorOf()).code).toBe('argument');
  });

  test('a model that is not there', async () => {
    const other = await openPage('?model=./elsewhere/');
    const { code, fix } = await errorOf(other);
    expect([code, fix === '']).toEqual(['missing', false]);
    expect(await other.$eval('#retry', (found) => found.hasAttribute('hidden'))).toBe(false);
    await other.close();
  });

  test('a page without WebGPU', async () => {
    const other = await browser.newPage();
    const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
    await other.setRequestInterception(true);
    other.on('request', (request) => {
      const name = new URL(request.url()).pathname.slice(1) || 'index.html';
      void readFile(join(work, 'web', name)).then(
        (body) => request.respond({ contentType: types[extname(name)] ?? 'application/json', body }),
        () => request.respond({ status: 404 }),
      );
    });
    // Browsers offer WebGPU to secure pages only, and this address is none.
    await other.goto('http://insecure.test/');
    const { code, fix } = await errorOf(other);
    expect(code).toBe('no-adapter');
    expect(fix).toMatch(/https/);
    await other.close();
  });
});
