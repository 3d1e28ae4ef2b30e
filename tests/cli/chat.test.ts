import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { cli, writeText, writeTinyModel, type CliResult } from './support.js';

let root = '';
let model = '';
let [first, second] = ['', ''];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'), 32, 512);
  first = await writePicture('first.png', 37);
  second = await writePicture('second.png', 91);
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function writePicture(name: string, step: number): Promise<string> {
  const rgb = Uint8Array.from({ length: 32 * 32 * 3 }, (_, index) => (index * step) % 251);
  await writeFile(join(root, name), await nodeImageCodec.encodePng(rgb, 32, 32));
  return join(root, name);
}

/** The random model's answers differ with what it is asked only where they are drawn. */
const drawn = ['--max-tokens', '12', '--temperature', '1', '--seed', '4'];

function run(args: readonly string[], typed = ''): Promise<CliResult> {
  return cli([...args, '--model', model], undefined, typed);
}

interface AskReport {
  pictures: string[];
  question: string;
  answer: string;
  tokens: number;
  finished: boolean;
}

async function ask(...args: string[]): Promise<AskReport> {
  const { code, out, err } = await run(['ask', ...args, ...drawn, '--json']);
  expect(code, err).toBe(0);
  return JSON.parse(out) as AskReport;
}

describe('ask', () => {
  it('prints the answer, the same as JSON tells', async () => {
    const report = await ask(first, 'what is this');
    expect(report).toMatchObject({ pictures: [first], question: 'what is this' });
    expect(report.finished || report.tokens === 12).toBe(true);
    const { code, out, err } = await run(['ask', first, 'what is this', ...drawn]);
    expect(code).toBe(0);
    expect(out).toBe(`${report.answer.trimStart()}\n`);
    expect(err.includes('cut off after 12 tokens')).toBe(!report.finished);
  });

  it('takes several pictures, and the question as an option', async () => {
    const both = await ask(first, second, '-q', 'what is this');
    expect(both.pictures).toEqual([first, second]);
    expect(await ask(first, second, 'what is this')).toEqual(both);
    expect((await ask(first, 'what is this')).answer).not.toBe(both.answer);
  });

  it('takes codes for a picture', async () => {
    const codes = join(root, 'codes.json');
    expect((await run(['encode', first, '-o', codes])).code).toBe(0);
    expect((await ask(codes, 'what is this')).answer).toBe((await ask(first, 'what is this')).answer);
  });

  it.each([
    ['no picture', ['what is this'], 'no picture to ask about', 'argument'],
    ['no question', ['first.png', 'second.png'], 'no question', 'argument'],
    ['an empty question', ['first.png', '-q', ' '], '1 pictures or clips but no question', 'prompt'],
    ['a picture that is not there', ['third.png', 'what'], 'third.png', 'missing'],
    ['a file that is no picture', ['note.txt', 'what'], 'could not be read', 'image'],
    ['too long an answer', ['first.png', 'what', '--max-tokens', '9999'], 'above the context of 512', 'prompt'],
    ['more pictures than fit', [...Array<string>(30).fill('first.png'), 'what'], 'would fit', 'prompt'],
  ])('refuses %s', async (_, args, message, errorCode) => {
    await writeText(join(root, 'note.txt'), 'no picture');
    const paths = args.map((arg) => (/\.(png|txt)$/.test(arg) ? join(root, arg) : arg));
    const { code, out, err } = await run(['ask', ...paths, '--json']);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(JSON.parse(out)).toMatchObject({ error: { code: errorCode } });
  });

  it('refuses answers of no tokens as a command line that makes no sense', async () => {
    expect(await run(['ask', first, 'what', '--max-tokens', '0'])).toMatchObject({ code: 2, out: '' });
    expect(await run(['ask'])).toMatchObject({ code: 2, out: '' });
  });
});

describe('caption', () => {
  it('prints a line for each picture, named when there are several', async () => {
    const { code, out } = await run(['caption', first, second, ...drawn, '--json']);
    expect(code).toBe(0);
    const { captions } = JSON.parse(out) as { captions: { picture: string; answer: string }[] };
    expect(captions.map(({ picture }) => picture)).toEqual([first, second]);
    const texts = captions.map(({ answer }) => answer.trimStart());
    expect((await run(['caption', first, second, ...drawn])).out).toBe(
      `${first}: ${texts[0]}\n${second}: ${texts[1]}\n`,
    );
    expect((await run(['caption', first, ...drawn])).out).toBe(`${texts[0]}\n`);
  });
});

describe('chat', () => {
  const lines = (out: string): { question: string; answer: string }[] =>
    out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { question: string; answer: string });

  it('answers every line of a pipe, remembering what was said', async () => {
    const typed = `what is this\n\nand now\r\n/image ${second}\nand this\n/new\nwhat is this`;
    const { code, out, err } = await run(['chat', first, ...drawn, '--json'], typed);
    expect(code, err).toBe(0);
    const said = lines(out);
    expect(said.map(({ question }) => question)).toEqual(['what is this', 'and now', 'and this', 'what is this']);
    expect(said[0].answer).toBe((await ask(first, 'what is this')).answer);
    expect(said[3].answer).toBe(said[0].answer);
    expect(said[1].answer).not.toBe((await ask(first, 'and now')).answer);
    expect(said[2].answer).not.toBe(said[1].answer);
  });

  it('prints answers as lines and ends with the input or when told', async () => {
    const report = await ask(first, 'what is this');
    const { code, out } = await run(['chat', first, ...drawn], 'what is this\n/exit\nwhat is this\n');
    expect(code).toBe(0);
    expect(out).toBe(`${report.answer.trimStart()}\n`);
    expect(await run(['chat'], '')).toMatchObject({ code: 0, out: '' });
  });

  it.each([
    ['a command there is not', '/frobnicate', 'no command /frobnicate', 'argument'],
    ['a picture without a name', '/image', 'names no file', 'argument'],
    ['a picture that is not there', '/image none.png', 'none.png', 'missing'],
    ['a conversation that outgrows the context', 'moon '.repeat(300), 'above the context of 512', 'prompt'],
  ])('stops a script at %s', async (_, typed, message, errorCode) => {
    const { code, out, err } = await run(['chat', first, '--max-tokens', '2', '--json'], `what\n${typed}\nwhat\n`);
    expect(code).toBe(1);
    expect(err).toContain(message);
    const printed = out.trim().split('\n');
    expect(printed).toHaveLength(2);
    expect(JSON.parse(printed[1])).toMatchObject({ error: { code: errorCode } });
  });

  it('lets a person try again, and says how it is used', async () => {
    const typed = Object.assign(Readable.from(['/image none.png\nwhat is this\n']), { isTTY: true });
    const { code, out, err } = await cli(['chat', first, ...drawn, '--model', model], undefined, typed);
    expect(code).toBe(0);
    expect(err).toContain('/exit ends');
    expect(err).toMatch(/^> error: .*\n {2}where: none\.png$/m);
    expect(out).toBe(`${(await ask(first, 'what is this')).answer.trimStart()}\n`);
  });

  it('ends when it is stopped', async () => {
    const { code, err } = await cli(['chat', '--model', model], AbortSignal.abort(new Error('stop')), 'what\n');
    expect(code).toBe(130);
    expect(err).toContain('cancelled');
  });
});
