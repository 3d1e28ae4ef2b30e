import sharp from 'sharp';
import { readFile, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Chat } from '../../index.js';
import { createNodeEmu3 } from '../../node.js';
import { DemoPage, openSite, patience, type CanvasPixels, type Site } from './demo-page.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const side = 4;
const prompt = 'a red circle';
const settings = { prompt, seed: 7, guidance: 2.5, temperature: 0.9 };
const questions = ['what is shown in this picture?', 'and what is on it?'];

let site: Site;
/** Loads the model once for all tests of the tasks; the pages of the failures have their own. */
let demo: DemoPage;
/** What the same engine gives in Node, on the same kind of adapter. */
let expected: Awaited<ReturnType<typeof answersOfNode>>;

beforeAll(async () => {
  site = await openSite();
  expected = await answersOfNode(site.model);
  demo = await DemoPage.open(site);
  await demo.state('ready');
});

afterAll(async () => {
  await site?.close();
});

async function answersOfNode(model: string) {
  const { emu3, device, close } = await createNodeEmu3(model, { prefer: 'swiftshader', log: () => undefined });
  const picture = await emu3.generate(settings);
  const clip = await emu3.generateVideo({ ...settings, frames: 8, framesPerSecond: 8 });
  const [inFull] = await emu3.rewritePrompts([settings]);
  const written = await emu3.generate({ ...settings, prompt: inFull });
  const [continued] = await emu3.rewritePrompts([{ prompt, beginning: clip.clip }]);
  const chat = new Chat(emu3);
  const image = { ...picture.size, codes: picture.codes };
  const first = await chat.ask({ text: questions[0], images: [image] });
  const second = await chat.ask({ text: questions[1] });
  const caption = await emu3.caption({ image });
  const adapter = device.choice.description;
  await close();
  return { adapter, picture, written, clip, continued, answers: [first.text, second.text], caption: caption.text };
}

/** Largest difference of the colours at the middle of each pixel of a picture on a canvas of any size. */
function difference(shown: CanvasPixels, { rgb, height, width }: { rgb: Uint8Array; height: number; width: number }) {
  let largest = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [down, across] = [((row + 0.5) * shown.height) / height, ((column + 0.5) * shown.width) / width];
      const at = 4 * (Math.floor(down) * shown.width + Math.floor(across));
      for (let channel = 0; channel < 3; channel++) {
        const byte = rgb[3 * (row * width + column) + channel];
        largest = Math.max(largest, Math.abs(shown.rgba[at + channel] - byte));
      }
    }
  }
  return largest;
}

test('the bundles hold nothing of Node, load nothing from elsewhere, and the video library only when it is needed', async () => {
  const { inputs, outputs } = site.bundle;
  const sources = Object.keys(inputs);
  expect(sources).toContain('demos/web/worker.ts');
  expect(sources.filter((path) => path.includes('.node.ts') || path.startsWith('node:'))).toEqual([]);
  const imports = Object.values(outputs).flatMap((output) => output.imports);
  expect(imports.filter(({ external }) => external === true)).toEqual([]);
  const reached = new Set<string>();
  const follow = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { path: next, kind } of outputs[path].imports) if (kind === 'import-statement') follow(next);
  };
  follow(Object.keys(outputs).find((path) => outputs[path].entryPoint === 'demos/web/main.ts') ?? '');
  const atOnce = [...reached].flatMap((path) => Object.keys(outputs[path].inputs));
  expect(atOnce).toContain('demos/web/video-panel.ts');
  expect(atOnce.filter((path) => path.includes('mediabunny'))).toEqual([]);
  for (const name of ['index.html', 'style.css']) {
    expect(await readFile(join(site.web, name), 'utf8')).not.toMatch(/(src|href|url)\s*[=(]\s*["']?(https?:)?\/\//);
  }
});

describe('drawing', () => {
  test('rows of tokens show before the picture does, and cancelling ends it', async () => {
    await demo.set('#prompt', prompt);
    await demo.cancelAt('Row');
    expect(await demo.run('#generate')).toBe('Cancelled.');
    expect(await demo.isHidden('#result')).toBe(true);
    expect(await demo.isDisabled('#generate')).toBe(false);
    expect(await demo.isDisabled('#vary')).toBe(true);
    // A place whose token is still to come is faint.
    const { rgba, width } = await demo.pixels('#grid');
    const inside = Math.floor(width / 16);
    expect(rgba[4 * (inside * width + inside) + 3]).toBe(255);
  });

  test('the ids and the picture are those of Node on the same kind of adapter', async () => {
    expect(await demo.text('#adapter')).toContain(expected.adapter);
    for (const name of ['seed', 'guidance', 'temperature'] as const) {
      await demo.set(`#draw [name=${name}]`, String(settings[name]));
    }
    expect(await demo.run('#generate')).toMatch(/^Done/);
    expect((await demo.text('#ids')).split(' ').map(Number)).toEqual([...expected.picture.ids]);
    expect(await demo.codes(side, side)).toEqual([...expected.picture.codes]);
    expect(await demo.text('#used-seed')).toBe('7');
    expect(await demo.attribute('#grid', 'aria-label')).toBe(`Picture: ${prompt}`);
    await demo.page.focus('#prompt');
    // The two builds of SwiftShader may round a pixel's value differently, no more.
    expect(difference(await demo.pixels('#grid'), expected.picture.image)).toBeLessThanOrEqual(1);
  });

  test('the picture downloads as a PNG', async () => {
    const download = await demo.catchDownload();
    await demo.page.click('#download-8');
    const { name, bytes } = await download();
    expect(name).toBe('a-red-circle-7.png');
    const { width, height, format } = await sharp(bytes).metadata();
    expect([format, width, height]).toEqual(['png', 256, 256]);
  });

  test('a prompt is written out in full first where that is wanted', async () => {
    await demo.page.click('#rewrite');
    const told = await demo.watch('#status');
    expect(await demo.run('#generate')).toMatch(/^Done/);
    expect((await told())[0]).toBe('Writing the prompt out …');
    expect(await demo.text('#drawn-from')).toBe(expected.written.prompt);
    expect(expected.written.prompt).not.toBe(prompt);
    expect(await demo.codes(side, side)).toEqual([...expected.written.codes]);
    await demo.page.click('#rewrite');
    await demo.page.click('#undo');
    expect(await demo.text('#drawn-from')).toBe(prompt);
  });

  test('varying keeps most of the tokens it was drawn with', async () => {
    const before = [...expected.picture.codes];
    expect(await demo.run('#vary')).toMatch(/^Done/);
    const after = await demo.codes(side, side);
    const changed = after.filter((code, place) => code !== before[place]).length;
    // Of 40 % drawn anew, some may come out as they were.
    expect(changed).toBeLessThanOrEqual(6);
    expect(changed).toBeGreaterThan(0);
    await demo.page.click('#undo');
    expect(await demo.codes(side, side)).toEqual(before);
  });
});

describe('editing an uploaded picture', () => {
  test('marks by pointer and by keys, and redraws what is marked alone', async () => {
    const file = join(site.web, '..', 'upload.png');
    const rgb = Buffer.from(Array.from({ length: 32 * 32 * 3 }, (_, at) => (at * 37 + (at >> 5) * 11) % 256));
    await writeFile(
      file,
      await sharp(rgb, { raw: { width: 32, height: 32, channels: 3 } })
        .png()
        .toBuffer(),
    );
    expect(await demo.upload('#open', file)).toBe('The picture is open.');
    expect(await demo.attribute('#grid', 'aria-label')).toBe('Picture: upload.png');
    const before = await demo.codes(side, side);
    expect(await demo.isDisabled('#edit')).toBe(true);

    // A box of 2 x 2 in the middle, of which space takes the last cell away.
    await demo.page.click('[name=tool][value=box]');
    const box = await (await demo.page.$('#grid'))?.boundingBox();
    if (!box) throw new Error('no grid');
    await demo.page.mouse.move(box.x + 0.3 * box.width, box.y + 0.3 * box.height);
    await demo.page.mouse.down();
    await demo.page.mouse.move(box.x + 0.7 * box.width, box.y + 0.7 * box.height, { steps: 4 });
    await demo.page.mouse.up();
    expect(await demo.text('#marked')).toBe('4 tokens marked.');
    await demo.page.keyboard.press('Space');
    expect(await demo.text('#marked')).toBe('3 tokens marked.');
    const marked = [5, 6, 9];

    await demo.set('#prompt', 'three yellow hearts');
    const told = await demo.watch('#status');
    await demo.set('#draw [name=temperature]', '2');
    expect(await demo.run('#edit')).toMatch(/^Done/);
    expect((await told()).filter((text) => text.startsWith('Row'))).toEqual(
      [1, 2, 3, 4].map((row) => `Row ${row} of 4`),
    );
    expect(await demo.text('#marked')).toBe('No token is marked.');
    const after = await demo.codes(side, side);
    const kept = (codes: number[]): number[] => codes.filter((_, place) => !marked.includes(place));
    expect(kept(after)).toEqual(kept(before));
    expect(after).not.toEqual(before);

    await demo.page.focus('#prompt');
    const shown = await demo.pixels('#grid');
    const pixelAt = (row: number, column: number): number[] => {
      const at = 4 * (Math.floor(((row + 0.5) * shown.height) / 32) * shown.width);
      const across = 4 * Math.floor(((column + 0.5) * shown.width) / 32);
      return shown.rgba.slice(at + across, at + across + 3);
    };
    for (let row = 0; row < 32; row++) {
      for (let column = 0; column < 32; column++) {
        if (marked.includes(Math.floor(row / 8) * side + Math.floor(column / 8))) continue;
        expect(pixelAt(row, column)).toEqual([...rgb.subarray(3 * (row * 32 + column), 3 * (row * 32 + column) + 3)]);
      }
    }
  });

  test('a failure gives back the picture with its marks', async () => {
    await demo.page.focus('#grid');
    await demo.page.keyboard.press('ArrowRight');
    await demo.page.keyboard.press('Space');
    await demo.set('#prompt', ' ');
    await demo.page.click('#edit');
    expect((await demo.error()).code).toBe('prompt');
    expect(await demo.text('#marked')).toBe('1 token marked.');
    await demo.page.click('#clear-marks');
    await demo.page.click('#undo');
    await demo.page.click('#undo');
    await demo.set('#prompt', prompt);
    expect(await demo.codes(side, side)).toEqual([...expected.picture.codes]);
  });
});

describe('video', () => {
  const framePixels = async (frame: number): Promise<CanvasPixels> => {
    await demo.set('#player [type=range]', String(frame));
    return demo.pixels('#clip');
  };

  test('tabs are walked by keys', async () => {
    await demo.page.focus('#tab-draw');
    await demo.page.keyboard.press('ArrowLeft');
    expect(await demo.attribute('#tab-ask', 'aria-selected')).toBe('true');
    await demo.page.keyboard.press('ArrowLeft');
    expect(await demo.page.evaluate(() => document.activeElement?.id)).toBe('tab-video');
    expect([await demo.isHidden('#draw'), await demo.isHidden('#video'), await demo.isHidden('#ask-panel')]).toEqual([
      true,
      false,
      true,
    ]);
  });

  test('is filmed row by row, has the frames of Node, and plays', async () => {
    await demo.set('#video-prompt', prompt);
    await demo.set('#frames', '8');
    for (const name of ['seed', 'guidance', 'temperature'] as const) {
      await demo.set(`#video [name=${name}]`, String(settings[name]));
    }
    const told = await demo.watch('#status');
    expect(await demo.run('#film')).toMatch(/^Done/);
    const rows = [1, 2].flatMap((frame) => [1, 2, 3, 4].map((row) => `Frame ${frame} of 2 in tokens, row ${row} of 4`));
    expect((await told()).filter((text) => text.startsWith('Frame'))).toEqual(rows);
    expect(await demo.text('#filmed-from')).toBe(prompt);
    expect(await demo.text('#video-length')).toBe('8 frames, 8 a second: 1.0 s');
    expect(await demo.attribute('#clip', 'aria-label')).toBe(`Video: ${prompt}`);
    for (const [index, frame] of expected.clip.frames.entries()) {
      expect(difference(await framePixels(index), frame)).toBeLessThanOrEqual(1);
    }
    expect(await demo.attribute('#player [type=range]', 'aria-valuetext')).toBe('Frame 8 of 8');

    expect((await framePixels(0)).rgba).not.toEqual((await framePixels(7)).rgba);

    // Less motion is wanted, so it waits.
    expect(await demo.text('#player .play')).toBe('Play');
    await demo.page.click('#player .play');
    for (const frame of [3, 1]) {
      await demo.page.waitForFunction(
        (wanted) => document.querySelector('#player [type=range]')?.getAttribute('aria-valuetext') === wanted,
        { ...patience, polling: 'mutation' },
        `Frame ${frame} of 8`,
      );
    }
    await demo.page.click('#player .play');
    expect(await demo.text('#player .play')).toBe('Play');
  });

  test('goes on behind what is there', async () => {
    await demo.set('#frames', '4');
    await demo.page.click('#video-rewrite');
    expect(await demo.run('#continue')).toMatch(/^Done/);
    await demo.page.click('#video-rewrite');
    // The model saw what was there: it wrote what it writes of that.
    expect(await demo.text('#filmed-from')).toBe(expected.continued);
    expect(await demo.text('#video-length')).toBe('12 frames, 8 a second: 1.5 s');
    expect(difference(await framePixels(7), expected.clip.frames[7])).toBeLessThanOrEqual(1);
  });

  test('downloads, or says what is missing', async () => {
    const download = await demo.catchDownload();
    const said = await demo.run('#download-webm');
    if (said === 'The video is saved.') {
      const { name, bytes } = await download();
      expect(name).toMatch(/^a-red-circle-\d+\.webm$/);
      expect([...bytes.slice(0, 4)]).toEqual([0x1a, 0x45, 0xdf, 0xa3]);
    } else {
      expect(await demo.error()).toMatchObject({ code: 'unsupported' });
    }
    expect(await demo.isDisabled('#film')).toBe(false);
  });

  test('begins with the drawn picture', async () => {
    await demo.page.click('#video-start [value=drawn]');
    expect(await demo.attribute('#video-start canvas', 'aria-label')).toBe(`Picture: ${prompt}`);
    await demo.set('#frames', '8');
    const told = await demo.watch('#status');
    expect(await demo.run('#film')).toMatch(/^Done/);
    const frames = (await told()).flatMap((text) => /^Frame (\d)/.exec(text)?.[1] ?? []);
    expect(new Set(frames)).toEqual(new Set(['2']));
  });

  test('refuses half latent frames at their field, and is cancelled', async () => {
    await demo.set('#frames', '10');
    await demo.page.click('#film');
    const { code, fix } = await demo.error();
    expect([code, fix]).toEqual(['argument', expect.stringMatching(/8 or 12/) as unknown]);
    expect(await demo.page.evaluate(() => document.activeElement?.id)).toBe('frames');
    expect(await demo.attribute('#frames', 'aria-invalid')).toBe('true');
    await demo.set('#frames', '60');
    await demo.cancelAt('Frame');
    expect(await demo.run('#film')).toBe('Cancelled.');
    // The last clip is back.
    expect(await demo.text('#video-length')).toMatch(/^8 frames/);
    expect(await demo.isHidden('#video-result')).toBe(false);
  });
});

describe('asking', () => {
  const said = async (): Promise<string[]> => demo.texts('#messages li > p:first-of-type');

  test('answers stream in, turn after turn, as in Node', async () => {
    await demo.page.click('#tab-ask');
    expect(await demo.attribute('#ask-about canvas', 'aria-label')).toBe(`Picture: ${prompt}`);
    const stream = await demo.watch('#messages');
    await demo.set('#question', questions[0]);
    expect(await demo.run('#ask')).toBe('Answered.');
    // More than the question, the empty answer, and the whole of it.
    expect(new Set(await stream()).size).toBeGreaterThan(3);
    await demo.page.focus('#question');
    await demo.page.keyboard.type(questions[1]);
    await demo.page.keyboard.press('Enter');
    await demo.state('working');
    expect(await demo.settled()).toBe('Answered.');
    const [first, second] = expected.answers.map((text) => text.trim());
    expect(await said()).toEqual([questions[0], first, questions[1], second]);
    expect(await demo.texts('#messages .who')).toEqual(['You', 'Emu3', 'You', 'Emu3']);
    expect(await demo.attribute('#log', 'aria-busy')).toBe('false');
  });

  test('what was cancelled can be asked again, and an empty question is refused at its field', async () => {
    await demo.set('#question', questions[1]);
    await demo.cancelAt('Answering');
    expect(await demo.run('#ask')).toBe('Cancelled.');
    expect((await demo.texts('#messages li:last-child')).join()).toMatch(/Cancelled/);
    expect(await demo.page.$eval('#question', (field) => field instanceof HTMLInputElement && field.value)).toBe(
      questions[1],
    );
    const before = await said();
    await demo.set('#question', '  ');
    await demo.page.click('#ask');
    expect((await demo.error()).code).toBe('prompt');
    expect(await demo.page.evaluate(() => document.activeElement?.id)).toBe('question');
    expect(await said()).toEqual(before);
  });

  test('captions, and begins a new conversation about another thing', async () => {
    expect(await demo.run('#caption')).toBe('Answered.');
    expect((await said()).at(-1)).toBe(expected.caption.trim());
    await demo.page.click('#new-chat');
    expect(await said()).toEqual([]);
    await demo.page.click('#ask-about [value=clip]');
    expect(await demo.attribute('#ask-about canvas', 'aria-label')).toBe(`First of 8 frames: ${prompt}`);
    await demo.set('#question', questions[0]);
    expect(await demo.run('#ask')).toBe('Answered.');
    expect((await said()).length).toBe(2);
  });

  test('a file that is no picture is refused', async () => {
    const file = join(site.web, '..', 'broken.png');
    await writeFile(file, 'no picture');
    expect(await demo.upload('#ask-about [type=file]', file)).toMatch(/could not be read/);
    expect((await demo.error()).code).toBe('image');
  });
});

describe('what goes wrong is told with its remedy', () => {
  test('an empty prompt, after which a prompt still works', async () => {
    await demo.page.click('#tab-draw');
    await demo.set('#prompt', '   ');
    await demo.page.click('#generate');
    const { code, message, fix } = await demo.error();
    expect(code).toBe('prompt');
    expect(message).toMatch(/empty/);
    expect(fix).not.toBe('');
    expect(await demo.page.evaluate(() => document.activeElement?.id)).toBe('prompt');
    await demo.page.keyboard.type(prompt);
    await demo.page.keyboard.press('Enter');
    await demo.state('working');
    expect(await demo.settled()).toMatch(/^Done/);
    expect(await demo.isHidden('#error')).toBe(true);
  });

  test('a seed out of range', async () => {
    await demo.set('#draw [name=seed]', '-1');
    await demo.page.click('#generate');
    expect((await demo.error()).code).toBe('argument');
  });

  test('a model that is not there, and then one that is', async () => {
    const other = await DemoPage.open(site, '?model=./elsewhere/');
    const { code, fix } = await other.error();
    expect([code, fix === '']).toEqual(['missing', false]);
    expect(await other.isHidden('#retry')).toBe(false);
    await other.page.goto(`${site.url}/?model=./nano/`);
    expect(await other.settled()).toBe('Ready.');
    expect(await other.text('#model')).toBe('2.6 M weights, 8 x 8 tokens a picture');
    await other.page.close();
  });

  test('a page without WebGPU', async () => {
    const page = await site.browser.newPage();
    const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
    await page.setRequestInterception(true);
    page.on('request', (request) => {
      const name = new URL(request.url()).pathname.slice(1) || 'index.html';
      void readFile(join(site.web, name)).then(
        (body) => request.respond({ contentType: types[extname(name)] ?? 'application/json', body }),
        () => request.respond({ status: 404 }),
      );
    });
    // Browsers offer WebGPU to secure pages only, and this address is none.
    await page.goto('http://insecure.test/');
    await page.waitForSelector('#error:not([hidden])', patience);
    expect(await page.$eval('#error', (found) => found.getAttribute('data-code'))).toBe('no-adapter');
    expect(await page.$eval('#error-fix', (found) => found.textContent)).toMatch(/https/);
    await page.close();
  });
});
