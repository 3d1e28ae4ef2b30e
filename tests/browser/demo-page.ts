/** The demo page in a browser of its own, served with a small random model, and what tests read and do on it. */
import type { Metafile } from 'esbuild';
import type { Browser, Page } from 'puppeteer';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildPage } from '../../.config/bundle.mjs';
import { serveFolders } from '../../demos/web/static-server.node.js';
import { writeModelFolder } from '../decode/model-folder.js';
import { openChromium } from './chromium.js';

/** Two engines share the cores of one machine here. */
export const patience = { timeout: 240_000 };

export interface CanvasPixels {
  height: number;
  width: number;
  /** [height][width][4] */
  rgba: number[];
}

export interface Site {
  browser: Browser;
  url: string;
  /** Folder of the made model, 4 x 4 tokens a picture. */
  model: string;
  /** Folder of the page. */
  web: string;
  bundle: Metafile;
  close: () => Promise<void>;
}

/** Serves the page with the made model at `model/` and the shipped one at `nano/`. */
export async function openSite(): Promise<Site> {
  const work = await mkdtemp(join(tmpdir(), 'emu3-page-'));
  const [web, model] = [join(work, 'web'), join(work, 'model')];
  const nano = fileURLToPath(new URL('../../demos/nano/model', import.meta.url));
  const bundle = await buildPage(web);
  // Answers long enough to be cancelled.
  const generation = { top_k: 64, guidance_scale: 2, max_new_tokens: 96 };
  await writeModelFolder(model, { 'generation_config.json': JSON.stringify(generation) });
  const server = await serveFolders({ '': web, '/model': model, '/nano': nano });
  const browser = await openChromium();
  const close = async (): Promise<void> => {
    await browser.close();
    await server.close();
    await rm(work, { recursive: true, force: true });
  };
  return { browser, url: server.url, model, web, bundle, close };
}

export class DemoPage {
  readonly page: Page;

  private constructor(page: Page) {
    this.page = page;
  }

  /** High enough for every control to be in sight. */
  static async open({ browser, url }: Site, search = ''): Promise<DemoPage> {
    const page = await browser.newPage();
    await page.setViewport({ width: 1000, height: 1600 });
    await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
    await page.goto(`${url}/${search}`);
    return new DemoPage(page);
  }

  async state(wanted: string): Promise<void> {
    await this.page.waitForFunction((state) => document.body.dataset['state'] === state, patience, wanted);
  }

  /** Presses what starts a task and waits for its end. @returns the status then, or what went wrong. */
  async run(selector: string): Promise<string> {
    await this.page.click(selector);
    return this.settled();
  }

  async settled(): Promise<string> {
    await this.page.waitForFunction(
      () => !['working', 'loading'].includes(document.body.dataset['state'] ?? ''),
      patience,
    );
    const error = await this.isHidden('#error');
    return error ? this.text('#status') : `${await this.text('#error-message')} ${await this.text('#error-fix')}`;
  }

  async text(selector: string): Promise<string> {
    return this.page.$eval(selector, (found) => found.textContent ?? '');
  }

  async texts(selector: string): Promise<string[]> {
    return this.page.$$eval(selector, (found) => found.map(({ textContent }) => textContent ?? ''));
  }

  async attribute(selector: string, name: string): Promise<string | null> {
    return this.page.$eval(selector, (found, key) => found.getAttribute(key), name);
  }

  async isHidden(selector: string): Promise<boolean> {
    return (await this.attribute(selector, 'hidden')) !== null;
  }

  async isDisabled(selector: string): Promise<boolean> {
    return (await this.attribute(selector, 'disabled')) !== null;
  }

  async set(selector: string, value: string): Promise<void> {
    await this.page.$eval(
      selector,
      (found, wanted) => {
        if (!(found instanceof HTMLInputElement)) throw new Error('no control');
        found.value = wanted;
        found.dispatchEvent(new Event('input', { bubbles: true }));
      },
      value,
    );
  }

  async error(): Promise<{ code: string | null; message: string; fix: string }> {
    await this.page.waitForSelector('#error:not([hidden])', patience);
    const [message, fix] = [await this.text('#error-message'), await this.text('#error-fix')];
    return { code: await this.attribute('#error', 'data-code'), message, fix };
  }

  /** Presses Cancel as soon as the status begins with this. */
  async cancelAt(beginning: string): Promise<void> {
    await this.page.evaluate((wanted) => {
      const status = document.querySelector('#status');
      if (status === null) throw new Error('no status');
      const observer = new MutationObserver(() => {
        if (!status.textContent.startsWith(wanted)) return;
        observer.disconnect();
        document.querySelector<HTMLButtonElement>('#cancel')?.click();
      });
      observer.observe(status, { childList: true });
    }, beginning);
  }

  /** Notes every text that an element has from now on. @returns what was noted, as often as it is asked. */
  async watch(selector: string): Promise<() => Promise<string[]>> {
    const noted = await this.page.evaluateHandle((wanted) => {
      const found = document.querySelector(wanted);
      if (found === null) throw new Error('nothing to watch');
      const texts: string[] = [];
      const note = (): unknown => texts.push(found.textContent ?? '');
      new MutationObserver(note).observe(found, { childList: true, characterData: true, subtree: true });
      return texts;
    }, selector);
    return () => noted.jsonValue();
  }

  /** What is on a canvas once it has been drawn. */
  async pixels(selector: string): Promise<CanvasPixels> {
    return this.page.$eval(selector, async (canvas) => {
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      if (!(canvas instanceof HTMLCanvasElement)) throw new Error('no canvas');
      const { height, width } = canvas;
      const context = canvas.getContext('2d');
      if (context === null) throw new Error('no context');
      return { height, width, rgba: [...context.getImageData(0, 0, width, height).data] };
    });
  }

  /** The codes of the picture, read cell by cell with the arrow keys. */
  async codes(rows: number, columns: number): Promise<number[]> {
    await this.page.focus('#grid');
    for (let step = 0; step < rows; step++) await this.page.keyboard.press('ArrowUp');
    const codes: number[] = [];
    for (let row = 0; row < rows; row++) {
      if (row > 0) await this.page.keyboard.press('ArrowDown');
      for (let column = 0; column < columns; column++) {
        // The first press of a row goes to its beginning, against the edge.
        const presses = column === 0 ? columns : 1;
        for (let press = 0; press < presses; press++) {
          await this.page.keyboard.press(column === 0 ? 'ArrowLeft' : 'ArrowRight');
        }
        const told = await this.text('#cell');
        const [, code] = new RegExp(`^Row ${row + 1}, column ${column + 1}: codebook entry (\\d+)$`).exec(told) ?? [];
        if (code === undefined) throw new Error(`the cell says: ${told}`);
        codes.push(Number(code));
      }
    }
    return codes;
  }

  async upload(selector: string, path: string): Promise<string> {
    const field = await this.page.$(selector);
    if (field === null) throw new Error('no file field');
    const begun = this.begun();
    await (await field.toElement('input')).uploadFile(path);
    await begun;
    return this.settled();
  }

  /** Resolves when the next task begins, however soon it ends: what is refused at once may never be seen working. */
  private begun(): Promise<void> {
    return this.page.evaluate(
      () =>
        new Promise<void>((done) => {
          const observer = new MutationObserver((records) => {
            const worked = records.some(({ oldValue }) => oldValue === 'working');
            if (!worked && document.body.dataset['state'] !== 'working') return;
            observer.disconnect();
            done();
          });
          observer.observe(document.body, { attributeFilter: ['data-state'], attributeOldValue: true });
        }),
    );
  }

  /** Puts a note in place of the browser's downloads. @returns name and bytes of the next one. */
  async catchDownload(): Promise<() => Promise<{ name: string; bytes: Uint8Array }>> {
    await this.page.evaluate(() => {
      const noted = document.body.dataset;
      delete noted['bytes'];
      HTMLAnchorElement.prototype.click = function () {
        void fetch(this.href).then(async (response) => {
          noted['name'] = this.download;
          noted['bytes'] = [...new Uint8Array(await response.arrayBuffer())].join(' ');
        });
      };
    });
    return async () => {
      await this.page.waitForSelector('body[data-bytes]', patience);
      const bytes = (await this.attribute('body', 'data-bytes')) ?? '';
      const name = (await this.attribute('body', 'data-name')) ?? '';
      return { name, bytes: Uint8Array.from(bytes.split(' ').map(Number)) };
    };
  }
}
