/** Clips from files: animated WebP, GIF and PNG, or a folder of pictures. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import sharp, { type Sharp } from 'sharp';
import { Emu3Error } from '../../kernels/core/errors.js';
import { fileError, isNotFound } from '../../loader/io-error.node.js';
import { parseJsonObject } from '../../loader/json.js';
import type { VideoFrames } from '../../loader/pipeline/clip.js';
import type { RgbImage } from '../../tokenizer/index.node.js';
import { decodeApng, isApng } from './apng.js';
import { gifTimes, pngTimes, ratesOf, webpTimes } from './frame-times.js';
import { decodePicture, readBytes, readPicture } from './pictures.js';
import { clipFile, readClipXmp } from './video-output.node.js';

const channels = 3;
/** Last byte of every whole GIF. */
const gifTrailer = 0x3b;

/**
 * A picture, or the frames of a clip: of an animation, or of a folder of pictures in the order of their names.
 *
 * @param framesPerSecond instead of what the file says; a folder may not say it.
 * @throws Emu3Error `missing`, `io`, `image`, naming the file; `shape` for pictures of different sizes in a folder,
 *   `argument` for a folder without a frame rate.
 */
export async function readVisual(path: string, framesPerSecond?: number): Promise<RgbImage | VideoFrames> {
  if (await isFolder(path)) return readFolder(path, framesPerSecond);
  const bytes = await readBytes(path);
  const read = isPng(bytes) ? await readApng(bytes, path) : await readAnimation(bytes, path);
  if (read === undefined) return decodePicture(bytes, path);
  return { frames: read.frames, framesPerSecond: framesPerSecond ?? read.framesPerSecond };
}

/** @throws Emu3Error as {@link readVisual}; `image` for a single picture. */
export async function readClip(path: string, framesPerSecond?: number): Promise<VideoFrames> {
  const visual = await readVisual(path, framesPerSecond);
  if ('frames' in visual) return visual;
  throw new Emu3Error('The file holds a single picture, no clip.', {
    code: 'image',
    where: path,
    fix: 'Give an animated WebP, GIF or PNG, or a folder of frames.',
  });
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

const isPng = (bytes: Uint8Array): boolean => bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e;

async function readApng(bytes: Uint8Array, path: string): Promise<VideoFrames | undefined> {
  if (!isApng(bytes)) return undefined;
  const decoded = await decodeApng(bytes).catch((cause: unknown) => {
    throw damaged(path, cause);
  });
  if (decoded === undefined || decoded.frames.length === 0) throw damaged(path);
  return spread(decoded.frames, decoded.delays, pngTimes.tick);
}

/** Undefined for a file of one picture. */
async function readAnimation(bytes: Uint8Array, path: string): Promise<VideoFrames | undefined> {
  const open = (): Sharp => sharp(bytes, { pages: -1, limitInputPixels: false });
  // What sharp cannot read at all is told by the reader of pictures.
  const metadata = await open()
    .metadata()
    .catch(() => undefined);
  if (metadata?.format !== 'gif' && metadata?.format !== 'webp') return undefined;
  // The library gives the frames that are left of a file that was cut short.
  if (metadata.format === 'gif' && bytes.at(-1) !== gifTrailer) throw damaged(path);
  const said = readClipXmp(metadata.xmpAsString);
  if ((metadata.pages ?? 1) === 1) {
    const { frames: count = 1, framesPerSecond } = said;
    if (count === 1 || framesPerSecond === undefined) return undefined;
    const picture = await decodePicture(bytes, path);
    return { frames: Array.from({ length: count }, () => picture), framesPerSecond };
  }
  try {
    const { data, info } = await open()
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const pages = metadata.pages ?? 1;
    const [width, height] = [info.width, info.height / pages];
    const length = width * height * channels;
    const frames = Array.from({ length: pages }, (_, page): RgbImage => {
      return { height, width, rgb: new Uint8Array(data.subarray(page * length, (page + 1) * length)) };
    });
    const { tick } = metadata.format === 'gif' ? gifTimes : webpTimes;
    return spread(frames, metadata.delay ?? frames.map(() => 0), tick, said.framesPerSecond);
  } catch (cause) {
    throw damaged(path, cause);
  }
}

/** Frames at a steady rate: those that show longer come more than once. */
function spread(frames: readonly RgbImage[], delays: readonly number[], tick: number, said?: number): VideoFrames {
  const { framesPerSecond, repeats } = ratesOf(delays, tick, said);
  return {
    frames: frames.flatMap((frame, index) => Array.from({ length: repeats[index] }, () => frame)),
    framesPerSecond,
  };
}

async function readFolder(path: string, framesPerSecond: number | undefined): Promise<VideoFrames> {
  const names = (await readdir(path))
    .filter((name) => /^[^.].*\.(png|jpe?g|webp)$/i.test(name))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  if (names.length === 0) {
    throw new Emu3Error('The folder has no frames.', {
      code: 'missing',
      where: path,
      fix: 'Put PNG, JPEG or WebP pictures into it, named in their order.',
    });
  }
  const rate = framesPerSecond ?? (await folderRate(path));
  const frames: RgbImage[] = [];
  for (const name of names) {
    const frame = await readPicture(join(path, name));
    const [first = frame] = frames;
    if (frame.height !== first.height || frame.width !== first.width) {
      throw new Emu3Error(
        `The frame has ${frame.height} x ${frame.width} pixels (height x width), ${names[0]} has ${first.height} x ${first.width}.`,
        { code: 'shape', where: join(path, name), fix: 'Bring all frames to one size.' },
      );
    }
    frames.push(frame);
  }
  return { frames, framesPerSecond: rate };
}

async function folderRate(path: string): Promise<number> {
  const file = join(path, clipFile);
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (isNotFound(error)) return '{}';
    throw fileError(error, file, 'read');
  });
  const rate = parseJsonObject(text, file)['framesPerSecond'];
  if (typeof rate === 'number') return rate;
  throw new Emu3Error('The folder does not say how fast its frames follow each other.', {
    code: 'argument',
    where: path,
    fix: 'Give --fps.',
  });
}

function damaged(where: string, cause?: unknown): Emu3Error {
  return new Emu3Error('The clip could not be read.', {
    code: 'image',
    where,
    fix: 'Use a whole animated WebP, GIF or PNG file.',
    cause,
  });
}
