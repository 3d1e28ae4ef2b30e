/** Videos as files: animated WebP, GIF and PNG, or a folder of PNG frames. */
import { mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import sharp from 'sharp';
import { Emu3Error } from '../../kernels/core/errors.js';
import { temporaryPath } from '../../loader/atomic.node.js';
import { fileError, isNotFound } from '../../loader/io-error.node.js';
import type { VideoFrames } from '../../loader/pipeline/clip.js';
import { encodeApng } from './apng.js';
import { checkRate, frameDelays, gifTimes, pngTimes, webpTimes, type FrameTimes } from './frame-times.js';
import { checkOutput, checkWritableParent, jsonText, kindOf, writeOutput } from './output.js';
import { encodePng, enlarge } from './pictures.js';

export type VideoFormat = 'webp' | 'gif' | 'png' | 'folder';

const formats: ReadonlyMap<string, VideoFormat> = new Map([
  ['.webp', 'webp'],
  ['.gif', 'gif'],
  ['.png', 'png'],
  ['.apng', 'png'],
  ['', 'folder'],
]);

const formatTimes: Readonly<Record<Exclude<VideoFormat, 'folder'>, FrameTimes>> = {
  webp: webpTimes,
  gif: gifTimes,
  png: pngTimes,
};

/** In a folder of frames, what the pictures cannot say. */
export const clipFile = 'clip.json';

/** Namespaces of what animated WebP files say of themselves: the standard one for video, and one for the number of frames. */
const dynamicMedia = 'http://ns.adobe.com/xmp/1.0/DynamicMedia/';
const ownNamespace = 'urn:emu3-webgpu';

/** @throws Emu3Error `argument` for an ending of no format. */
export function videoFormat(path: string): VideoFormat {
  const format = formats.get(extname(path).toLowerCase());
  if (format !== undefined) return format;
  throw new Emu3Error('The format of the video is unclear from the file name.', {
    code: 'argument',
    where: path,
    fix: 'Let the name end in .webp, .gif, .png or .apng, or give a folder, whose name has no ending.',
  });
}

/**
 * Refuses an output that could not be written, before any work is spent on it.
 * @throws Emu3Error `missing`, `io` as {@link checkOutput}, and `io` for a folder that has something in it.
 */
export async function checkVideoOutput(path: string): Promise<void> {
  if (videoFormat(path) !== 'folder') return checkOutput(path);
  await checkWritableParent(path);
  const kind = await kindOf(path);
  if (kind === 'absent' || (kind === 'folder' && (await readdir(path)).length === 0)) return;
  throw new Emu3Error(
    kind === 'file' ? 'The folder for the frames is a file.' : 'The folder for the frames is not empty.',
    {
      code: 'io',
      where: path,
      fix: 'Give the name of a new folder, or of an empty one.',
    },
  );
}

/** @throws Emu3Error `argument` for a frame rate that the format has no times for. */
export function checkVideoRate(path: string, framesPerSecond: number): void {
  const format = videoFormat(path);
  if (format !== 'folder') checkRate(framesPerSecond, formatTimes[format]);
}

/**
 * Writes a video all at once or not at all.
 * @param scale every pixel as so many by so many.
 * @throws Emu3Error `argument` for a frame rate that the format has no times for; `io`, `disk-full`.
 */
export async function writeVideo(path: string, video: VideoFrames, scale = 1): Promise<void> {
  const format = videoFormat(path);
  if (format === 'folder') await writeFolder(path, video, scale);
  else await writeOutput(path, await encodeAnimation(format, video, scale));
}

async function encodeAnimation(
  format: Exclude<VideoFormat, 'folder'>,
  { frames, framesPerSecond }: VideoFrames,
  scale: number,
): Promise<Uint8Array> {
  const large = frames.map((frame) => enlarge(frame, scale));
  const delay = frameDelays(frames.length, framesPerSecond, formatTimes[format]);
  if (format === 'png') return encodeApng(large, delay);
  const [{ height, width }] = large;
  const joined = Buffer.concat(large.map(({ rgb }) => rgb));
  const input = sharp(joined, {
    raw: { width, height: height * frames.length, channels: 3, pageHeight: height },
    limitInputPixels: false,
  });
  if (format === 'gif') {
    return input.gif({ loop: 0, delay, keepDuplicateFrames: true }).toBuffer();
  }
  // Lossless, so that codes read back are those that were drawn as nearly as pixels allow.
  return input.webp({ lossless: true, loop: 0, delay }).withXmp(clipXmp(frames.length, framesPerSecond)).toBuffer();
}

/** WebP joins equal frames, so the file says how many there were, and how fast. */
function clipXmp(frames: number, framesPerSecond: number): string {
  return (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">' +
    `<rdf:Description rdf:about="" xmlns:xmpDM="${dynamicMedia}" xmlns:emu3="${ownNamespace}" ` +
    `xmpDM:videoFrameRate="${framesPerSecond}" emu3:frames="${frames}"/></rdf:RDF></x:xmpmeta>`
  );
}

/** What {@link clipXmp} has written, if it has. */
export function readClipXmp(xmp: string | undefined): { frames?: number; framesPerSecond?: number } {
  const read = (name: string): number => Number(new RegExp(`${name}="([\\d.]+)"`).exec(xmp ?? '')?.[1]);
  const [frames, framesPerSecond] = [read('emu3:frames'), read('xmpDM:videoFrameRate')];
  return { ...(frames >= 1 && { frames }), ...(framesPerSecond > 0 && { framesPerSecond }) };
}

async function writeFolder(path: string, { frames, framesPerSecond }: VideoFrames, scale: number): Promise<void> {
  const temporary = temporaryPath(path.replace(/[/\\]+$/, ''));
  const digits = Math.max(4, String(frames.length).length);
  try {
    await mkdir(temporary);
    for (const [index, frame] of frames.entries()) {
      const name = `frame-${String(index + 1).padStart(digits, '0')}.png`;
      await writeFile(join(temporary, name), await encodePng(frame, scale));
    }
    await writeFile(join(temporary, clipFile), jsonText({ framesPerSecond, frames: frames.length }));
    // An empty folder of this name may be there.
    await rmdir(path).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw fileError(error, path, 'write');
  }
}
