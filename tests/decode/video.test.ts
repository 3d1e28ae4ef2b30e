import { beforeAll, describe, expect, it } from 'vitest';
import {
  Emu3,
  latentFrameLength,
  type CodeClip,
  type RgbImage,
  type VideoFrameEvent,
  type VideoPixelsEvent,
  type VideoRequest,
  type VideoRowEvent,
  type VideoTokenEvent,
} from '../../index.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

let emu3: Emu3;

beforeAll(async () => {
  emu3 = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
});

const prompt = 'a red circle';
const size = { height: 2, width: 3 };
const framesPerSecond = 8;
/** Sharp at first, so that codes differ from each other with a random model too. */
const temperature = 2;

function picture(seed: number, height = 32, width = 32): RgbImage {
  const rgb = Uint8Array.from({ length: height * width * 3 }, (_, at) => (at * 37 + (at >> 5) * (11 + seed)) % 256);
  return { height, width, rgb };
}

const frames = (count: number): RgbImage[] => Array.from({ length: count }, (_, index) => picture(index));

function codeClip(latentFrames: number): CodeClip {
  const count = latentFrames * size.height * size.width;
  return {
    ...size,
    frames: latentFrames,
    framesPerSecond,
    codes: Array.from({ length: count }, (_, at) => (at * 7) % 512),
  };
}

/** Largest difference between the bytes of two lists of frames. */
function difference(a: readonly RgbImage[], b: readonly RgbImage[]): number {
  let largest = 0;
  a.forEach(({ rgb }, frame) =>
    rgb.forEach((byte, at) => (largest = Math.max(largest, Math.abs(byte - b[frame].rgb[at])))),
  );
  return largest;
}

describe('clips', () => {
  it('become codes and frames again, four frames a latent frame', async () => {
    const told: number[] = [];
    const encoded = await emu3.encodeClip(frames(8), { framesPerSecond: 12.5, onFrames: (done) => told.push(done) });
    expect(encoded).toMatchObject({ frames: 2, height: 4, width: 4, framesPerSecond: 12.5 });
    expect(encoded.codes.length).toBe(32);
    expect(encoded.resized.length).toBe(8);
    expect(told.at(-1)).toBe(8);
    const decoded = await emu3.decodeClip(encoded);
    expect(decoded.framesPerSecond).toBe(12.5);
    expect(decoded.frames.map(({ height, width }) => [height, width])).toEqual(Array(8).fill([32, 32]));
    const smaller = await emu3.encodeClip(frames(4), { framesPerSecond, limits: { minPixels: 256, maxPixels: 256 } });
    expect(smaller).toMatchObject({ frames: 1, height: 2, width: 2 });
  });

  it('of equal frames have the codes of the picture', async () => {
    const image = picture(1);
    const still = await emu3.encodeClip([image, image, image, image], { framesPerSecond });
    expect(still.codes).toEqual((await emu3.encodeImage(image)).codes);
  });

  it('begin with the same frames however long they are', async () => {
    const long = codeClip(3);
    const short = { ...long, frames: 1, codes: Array.from(long.codes).slice(0, 6) };
    const [whole, beginning] = [await emu3.decodeClip(long), await emu3.decodeClip(short)];
    expect(beginning.frames.length).toBe(4);
    expect(difference(beginning.frames, whole.frames)).toBeLessThanOrEqual(1);
  });
});

describe('drawing', () => {
  it('tells tokens, rows and latent frames as they come, by the grammar', async () => {
    const tokens: VideoTokenEvent[] = [];
    const rows: VideoRowEvent[] = [];
    const told: VideoFrameEvent[] = [];
    const pixels: VideoPixelsEvent[] = [];
    const video = await emu3.generateVideo({
      prompt,
      size,
      frames: 12,
      framesPerSecond,
      seed: 5,
      temperature,
      onToken: (event) => tokens.push(event),
      onRow: (event) => rows.push(event),
      onFrame: (event) => told.push(event),
      onPixels: (event) => pixels.push(event),
    });
    expect(pixels.at(-1)).toEqual({ video: 0, done: 12, total: 12 });
    const { eol, eof, eoi, eos, visualStart, visualCount } = emu3.tokenizer.special;
    const perFrame = latentFrameLength(size);
    expect(video.ids.length).toBe(3 * perFrame + 2);
    video.ids.forEach((id, step) => {
      const place = step % perFrame;
      if (step >= 3 * perFrame) expect(id).toBe([eoi, eos][step - 3 * perFrame]);
      else if (place === 8) expect(id).toBe(eof);
      else if (place % 4 === 3) expect(id).toBe(eol);
      else expect(id >= visualStart && id < visualStart + visualCount).toBe(true);
    });
    expect(tokens.map(({ id }) => id)).toEqual([...video.ids]);
    expect(tokens.map(({ step, steps }) => [step, steps])).toEqual(tokens.map((_, step) => [step, video.ids.length]));
    expect(tokens.flatMap(({ visual }) => (visual ? [visual.code] : []))).toEqual([...video.clip.codes]);
    expect(tokens[2 * perFrame + 5].visual).toMatchObject({ frame: 2, row: 1, column: 1 });
    expect(rows.map(({ frame, row }) => [frame, row])).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
      [2, 0],
      [2, 1],
    ]);
    expect(rows.flatMap(({ codes }) => [...codes])).toEqual([...video.clip.codes]);
    expect(told.map(({ frame, frames: all }) => [frame, all])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
    expect(told.flatMap(({ codes }) => [...codes])).toEqual([...video.clip.codes]);
    expect(video).toMatchObject({ seed: 5, prompt, kept: 0, framesPerSecond });
    expect(video.clip).toMatchObject({ ...size, frames: 3, framesPerSecond });
    expect(video.frames.map(({ height, width }) => [height, width])).toEqual(Array(12).fill([16, 24]));
    expect((await emu3.decodeClip(video.clip)).frames).toEqual(video.frames);
  });

  it('follows the seed, and takes seconds and a ratio', async () => {
    const draw = (seed: number) =>
      emu3.generateVideo({ prompt, ratio: '4:1', seconds: 0.9, framesPerSecond, seed, temperature });
    const [one, again, other] = [await draw(1), await draw(1), await draw(2)];
    // 7.2 frames are nearest to 8, and 32 x 32 pixels in this ratio to 2 x 8 tokens.
    expect(one.clip).toMatchObject({ frames: 2, height: 2, width: 8 });
    expect(again).toEqual(one);
    expect(other.clip.codes).not.toEqual(one.clip.codes);
  });

  it('draws the same alone and in a batch, and parts a batch that does not fit side by side', async () => {
    const tokens = (words: number): number => emu3.tokenizer.encode('moon '.repeat(words)).length;
    const longPrompt = 'moon '.repeat(Math.floor(4500 / (tokens(20) - tokens(10))));
    const requests: VideoRequest[] = [
      { prompt, size, frames: 8, framesPerSecond, seed: 1, temperature },
      { prompt: 'blue stars', size: { height: 1, width: 2 }, frames: 4, framesPerSecond, seed: 2, guidance: 4 },
      // A long video, and behind it a long prompt: no context holds both side by side.
      { prompt, size, frames: 48, framesPerSecond, seed: 3, guidance: 0.5 },
      { prompt: longPrompt, size, frames: 4, framesPerSecond, seed: 4 },
    ];
    const order: number[] = [];
    const together = await emu3.generateVideoBatch(requests, { onFrame: ({ video }) => order.push(video) });
    expect([0, 1, 2, 3].map((video) => order.filter((told) => told === video).length)).toEqual([2, 1, 12, 1]);
    expect(order.at(-1)).toBe(3);
    for (const [index, request] of requests.entries()) {
      const alone = await emu3.generateVideo(request);
      expect([...alone.ids], `video ${index}`).toEqual([...together[index].ids]);
      expect(difference(alone.frames, together[index].frames)).toBe(0);
    }
  });
});

describe('a video that begins with', () => {
  const settings = { prompt, frames: 12, framesPerSecond, seed: 3, temperature };

  it('a picture keeps its latent frame and goes on from it', async () => {
    const image = picture(2);
    const { codes } = await emu3.encodeImage(image);
    const events: VideoFrameEvent[] = [];
    const video = await emu3.generateVideo({ ...settings, first: image, onFrame: (event) => events.push(event) });
    expect(video.kept).toBe(1);
    expect(video.clip).toMatchObject({ frames: 3, height: 4, width: 4 });
    expect(video.clip.codes.slice(0, 16)).toEqual(codes);
    expect(video.ids.length).toBe(2 * 21 + 2);
    expect(events.map(({ frame }) => frame)).toEqual([1, 2]);
    expect(video.frames.length).toBe(12);
    const other = await emu3.generateVideo({ ...settings, first: picture(9) });
    expect(other.clip.codes.slice(16)).not.toEqual(video.clip.codes.slice(16));
  });

  it('frames or codes keeps them, and the codes tell the size', async () => {
    const first = codeClip(2);
    const video = await emu3.generateVideo({ ...settings, first });
    expect(video.kept).toBe(2);
    expect(video.clip).toMatchObject({ ...size, frames: 3 });
    expect([...video.clip.codes.slice(0, 12)]).toEqual(first.codes);
    const moving = frames(8);
    const { codes } = await emu3.encodeClip(moving, { framesPerSecond });
    const continued = await emu3.generateVideo({ ...settings, first: moving });
    expect(continued.clip.codes.slice(0, 32)).toEqual(codes);
  });
});

describe('continuing', () => {
  const clip = codeClip(2);
  const settings = { clip, newFrames: 8, seed: 4, temperature };

  it('keeps what is there to the bit and adds what was asked for, any number of times', async () => {
    const told: VideoFrameEvent[] = [];
    const tokens: VideoTokenEvent[] = [];
    const long = await emu3.extendVideo({
      ...settings,
      prompt,
      times: 3,
      contextFrames: 3,
      onFrame: (event) => told.push(event),
      onToken: (event) => tokens.push(event),
    });
    expect(long.clip).toMatchObject({ ...size, frames: 8, framesPerSecond });
    expect(long.frames.length).toBe(32);
    expect([...long.clip.codes.slice(0, 12)]).toEqual(clip.codes);
    expect(told.map(({ frame }) => frame)).toEqual([2, 3, 4, 5, 6, 7]);
    expect(told.every(({ frames: all }) => all === 8)).toBe(true);
    expect(told.flatMap(({ codes }) => [...codes])).toEqual([...long.clip.codes.slice(12)]);
    const steps = 3 * (2 * latentFrameLength(size) + 2);
    expect(tokens.map((event) => [event.step, event.steps])).toEqual(tokens.map((_, step) => [step, steps]));
    // What comes later changes nothing of what was before.
    const short = await emu3.extendVideo({ ...settings, prompt, times: 1, contextFrames: 3 });
    expect(short.clip.codes).toEqual(long.clip.codes.slice(0, 24));
    expect(difference(short.frames, long.frames)).toBeLessThanOrEqual(1);
    expect(difference((await emu3.decodeClip(clip)).frames, long.frames)).toBeLessThanOrEqual(1);
    const again = await emu3.extendVideo({ ...settings, prompt, times: 3, contextFrames: 3 });
    expect(again.clip.codes).toEqual(long.clip.codes);
    // Repetitions of equal context have noise of their own.
    expect(long.clip.codes.slice(24, 36)).not.toEqual(long.clip.codes.slice(36));
  });

  it('sees the last latent frames as the beginning of a video of the whole length', async () => {
    const first = { ...clip, frames: 1, codes: Array.from(clip.codes).slice(6) };
    const drawn = await emu3.generateVideo({ prompt, first, frames: 12, framesPerSecond, seed: 4, temperature });
    const extended = await emu3.extendVideo({ ...settings, prompt, contextFrames: 1 });
    expect(extended.clip.codes.slice(12)).toEqual(drawn.clip.codes.slice(6));
    const all = await emu3.extendVideo({ ...settings, prompt, contextFrames: 100 });
    expect((await emu3.extendVideo({ ...settings, prompt })).clip.codes).toEqual(all.clip.codes);
  });

  it('goes beyond the context by letting go of the oldest frames, without a prompt and from frames too', async () => {
    const codes = codeClip(60);
    const long = await emu3.extendVideo({ clip: codes, newFrames: 8, times: 2, seed: 1, guidance: 2 });
    expect(long.clip.frames).toBe(64);
    expect([...long.clip.codes.slice(0, 360)]).toEqual(codes.codes);
    const unguided = await emu3.extendVideo({ clip, newFrames: 4, seed: 1, guidance: 1 });
    expect(await emu3.extendVideo({ clip, newFrames: 4, seed: 1 })).toEqual(unguided);
    const asked = { clip, newFrames: 4, seed: 1, prompt };
    expect(await emu3.extendVideo(asked)).toEqual(await emu3.extendVideo({ ...asked, guidance: 1 }));
    const away = { ...asked, negativePrompt: 'red' };
    const { guidance } = emu3.defaults;
    expect(guidance).not.toBe(1);
    expect(await emu3.extendVideo(away)).toEqual(await emu3.extendVideo({ ...away, guidance }));
    const source = { frames: frames(4), framesPerSecond };
    const extended = await emu3.extendVideo({ clip: source, newFrames: 4, seed: 1 });
    expect(extended.clip.codes.slice(0, 16)).toEqual((await emu3.encodeClip(source.frames, source)).codes);
    expect(extended.frames.length).toBe(8);
  });
});

describe('refusals', () => {
  const request = { prompt, size, frames: 8, framesPerSecond };
  const clip = codeClip(1);
  const big = { ...request, size: { height: 8, width: 8 } };
  const cases: [string, () => Promise<unknown>, string, RegExp][] = [
    [
      'three frames',
      () => emu3.encodeClip(frames(3), { framesPerSecond }),
      'argument',
      /is 3, below the 4 .*give 4 at least/,
    ],
    ['no frames', () => emu3.encodeClip([], { framesPerSecond }), 'argument', /is 0, below the 4/],
    ['ten frames', () => emu3.encodeClip(frames(10), { framesPerSecond }), 'argument', /is 10,.*give 8 or 12/],
    [
      'frames of different sizes',
      () => emu3.encodeClip([...frames(3), picture(3, 40, 32)], { framesPerSecond }),
      'shape',
      /Frame 3 has 40 x 32 pixels .* frame 0 has 32 x 32/,
    ],
    [
      'tiny frames',
      () => emu3.encodeClip(Array(4).fill(picture(1, 4, 4)) as RgbImage[], { framesPerSecond }),
      'image',
      /too small/,
    ],
    ...[0, -8, NaN, Infinity, 1001, 1e-9].flatMap((rate): [string, () => Promise<unknown>, string, RegExp][] => [
      [
        `${rate} frames a second`,
        () => emu3.encodeClip(frames(4), { framesPerSecond: rate }),
        'argument',
        /frame rate/,
      ],
      [
        `a video of ${rate} frames a second`,
        () => emu3.generateVideo({ ...request, framesPerSecond: rate }),
        'argument',
        /frame rate/,
      ],
    ]),
    ['codes beyond the codebook', () => emu3.decodeClip({ ...clip, codes: [1, 2, 3, 4, 5, 512] }), 'token', /512/],
    ['codes that are no numbers', () => emu3.decodeClip({ ...clip, codes: [1, 2, 3, 4, 5, NaN] }), 'token', /NaN/],
    ['codes of another count', () => emu3.decodeClip({ ...clip, codes: [1, 2] }), 'shape', /2 codes are not 1 latent/],
    ['no latent frames', () => emu3.decodeClip({ ...clip, frames: 0, codes: [] }), 'argument', /0 latent frames/],
    ['an empty prompt', () => emu3.generateVideo({ ...request, prompt: ' ' }), 'prompt', /empty/],
    ['no videos', () => emu3.generateVideoBatch([]), 'argument', /nothing to draw/],
    ['6 frames', () => emu3.generateVideo({ ...request, frames: 6 }), 'argument', /give 4 or 8/],
    ['half frames', () => emu3.generateVideo({ ...request, frames: 4.5 }), 'argument', /4.5/],
    ['neither frames nor seconds', () => emu3.generateVideo({ prompt, size, framesPerSecond }), 'argument', /Neither/],
    ['frames and seconds', () => emu3.generateVideo({ ...request, seconds: 1 }), 'argument', /Both/],
    ['no time', () => emu3.generateVideo({ prompt, framesPerSecond, seconds: 0 }), 'argument', /0 seconds/],
    ['endless time', () => emu3.generateVideo({ prompt, framesPerSecond, seconds: Infinity }), 'argument', /Infinity/],
    ['size and ratio', () => emu3.generateVideo({ ...request, ratio: '1:1' }), 'argument', /Both a size and a ratio/],
    [
      'size and a first picture',
      () => emu3.generateVideo({ ...request, first: picture(1) }),
      'argument',
      /begins with/,
    ],
    ['half a row', () => emu3.generateVideo({ ...request, size: { height: 1.5, width: 2 } }), 'argument', /size/],
    [
      'a beginning as long as the video',
      () => emu3.generateVideo({ prompt, framesPerSecond, frames: 4, first: clip }),
      'argument',
      /Ask for 8 frames at least/,
    ],
    [
      'a beginning of another frame rate',
      () => emu3.generateVideo({ prompt, framesPerSecond: 9, frames: 8, first: clip }),
      'argument',
      /8 frames a second cannot go on with 9/,
    ],
    ['negative guidance', () => emu3.generateVideo({ ...request, guidance: -1 }), 'argument', /guidance/],
    ['top-k of 0', () => emu3.generateVideo({ ...request, topK: 0 }), 'argument', /top/i],
    ['a seed beyond 32 bits', () => emu3.generateVideo({ ...request, seed: 2 ** 32 }), 'argument', /seed/],
    [
      'a video beyond the context',
      () => emu3.generateVideo({ ...big, frames: 40 }),
      'prompt',
      /40 frames .* take 7\d\d tokens .*context of 512.*At most 24 frames fit/,
    ],
    [
      'a size beyond the context',
      () => emu3.generateVideo({ ...big, size: { height: 30, width: 30 } }),
      'prompt',
      /smaller size/,
    ],
    ['a fired signal', () => emu3.generateVideo({ ...request, signal: AbortSignal.abort() }), 'aborted', /cancelled/],
    ['2 new frames', () => emu3.extendVideo({ clip, newFrames: 2 }), 'argument', /is 2, below the 4/],
    ['no repetition', () => emu3.extendVideo({ clip, newFrames: 4, times: 0 }), 'argument', /times is 0/],
    ['half a repetition', () => emu3.extendVideo({ clip, newFrames: 4, times: 1.5 }), 'argument', /times is 1.5/],
    [
      'repetitions without end',
      () => emu3.extendVideo({ clip, newFrames: 4, times: 1e12 }),
      'argument',
      /fewer repetitions/,
    ],
    ['no context', () => emu3.extendVideo({ clip, newFrames: 4, contextFrames: 0 }), 'argument', /contextFrames is 0/],
    [
      'a clip of bad codes',
      () => emu3.extendVideo({ clip: { ...clip, codes: [1] }, newFrames: 4 }),
      'shape',
      /1 codes/,
    ],
    [
      'a clip of 5 frames',
      () => emu3.extendVideo({ clip: { frames: frames(5), framesPerSecond }, newFrames: 4 }),
      'argument',
      /give 4 or 8/,
    ],
    [
      'more new frames than fit',
      () => emu3.extendVideo({ clip, newFrames: 400 }),
      'prompt',
      /At most 2\d\d new frames fit behind the 4 that are there/,
    ],
    [
      'more context than fits',
      () => emu3.extendVideo({ clip: codeClip(60), newFrames: 4, contextFrames: 60 }),
      'prompt',
      /At most 2\d\d frames fit in all, and 240 are there: keep fewer/,
    ],
  ];

  it.each(cases)('of %s', async (_, work, code, message) => {
    await expect(work()).rejects.toMatchObject({
      name: 'Emu3Error',
      code,
      message: expect.stringMatching(message) as unknown,
    });
  });

  it('of a cancelled video, midway, after which the model still works and holds no more memory', async () => {
    const device = await testDevice();
    const draw = () => emu3.generateVideo({ ...request, seed: 1 });
    const expected = await draw();
    const bytes = device.allocatedBytes;
    const controller = new AbortController();
    let seen = 0;
    const cancelled = emu3.generateVideo({
      ...request,
      signal: controller.signal,
      onFrame: () => {
        seen++;
        controller.abort();
      },
    });
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' });
    expect(seen).toBe(1);
    expect(await draw()).toEqual(expected);
    expect(device.allocatedBytes).toBe(bytes);
  });
});
