import { Emu3Error } from '../../kernels/core/errors.js';
import { encodeSafetensors, memorySource, SafetensorsFile } from '../../loader/index.node.js';
import { parseJsonObject } from '../../loader/json.js';
import type { VideoCodes } from '../../loader/pipeline/clip.js';
import { writeOutput } from './output.js';
import { readBytes } from './pictures.js';

/** A picture as vision tokens. */
export interface PictureCodes {
  /** Rows and columns of tokens. */
  height: number;
  width: number;
  /** [height][width], codebook entries from 0. */
  codes: Uint32Array;
}

const tensorName = 'codes';
/** Of a clip, in the metadata of a safetensors file. */
const rateEntry = 'framesPerSecond';

/** @throws Emu3Error `argument` unless the name ends in .json or .safetensors. */
export function codesFormat(path: string): 'json' | 'safetensors' {
  if (/\.json$/i.test(path)) return 'json';
  if (/\.safetensors$/i.test(path)) return 'safetensors';
  throw new Emu3Error('The format of the codes is unclear from the file name.', {
    code: 'argument',
    where: path,
    fix: 'Let the name end in .json or .safetensors.',
  });
}

/** What a JSON file of codes holds: rows of codes, or frames of rows. */
export function codesJson(codes: PictureCodes | VideoCodes): object {
  const { height, width } = codes;
  if (!('frames' in codes)) return { height, width, codes: rowsOf(codes, 0) };
  const { frames, framesPerSecond } = codes;
  const rows = Array.from({ length: frames }, (_, frame) => rowsOf(codes, frame));
  return { frames, height, width, framesPerSecond, codes: rows };
}

function rowsOf({ height, width, codes }: PictureCodes, frame: number): number[][] {
  return Array.from({ length: height }, (_, row) => {
    const begin = (frame * height + row) * width;
    return [...codes.subarray(begin, begin + width)];
  });
}

/**
 * Writes codes by the ending of the name: as JSON, `{ height, width, codes }` of a picture or `{ frames, height, width,
 * framesPerSecond, codes }` of a clip; or as the I32 tensor `codes`, [height, width] of a picture or [frames, height, width]
 * of a clip, with the frame rate in the metadata.
 */
export async function writeCodes(path: string, codes: PictureCodes | VideoCodes): Promise<void> {
  if (codesFormat(path) === 'json') {
    // One row a line.
    const text = JSON.stringify(codesJson(codes), undefined, 2).replace(/\[[\s\d,]+\]/g, (row) =>
      row.replace(/\s+/g, ''),
    );
    await writeOutput(path, `${text}\n`);
    return;
  }
  const { height, width } = codes;
  const shape = 'frames' in codes ? [codes.frames, height, width] : [height, width];
  const metadata = 'frames' in codes ? { metadata: { [rateEntry]: String(codes.framesPerSecond) } } : {};
  const values = Int32Array.from(codes.codes);
  await writeOutput(path, await encodeSafetensors([{ name: tensorName, dtype: 'I32', shape, values }], metadata));
}

/**
 * Reads what {@link writeCodes} writes; the safetensors tensor of a picture may be I32 or I64 with axes of length 1 in front.
 * @throws Emu3Error `missing`, `io`, `format`, `shape`.
 */
export async function readCodes(path: string): Promise<PictureCodes | VideoCodes> {
  const format = codesFormat(path);
  const bytes = await readBytes(path);
  if (format === 'json') return parseCodes(new TextDecoder().decode(bytes), path);
  const file = await SafetensorsFile.open(memorySource(path, bytes));
  try {
    const shape = file.tensors.get(tensorName)?.shape ?? [];
    const framesPerSecond = file.metadata.get(rateEntry);
    const isClip = framesPerSecond !== undefined && shape.length === 3;
    if (shape.length < 2 || (!isClip && shape.slice(0, -2).some((length) => length !== 1))) {
      const what = 'of one picture, [height, width], or of a clip, [frames, height, width], with its frame rate';
      throw codesError(path, `There is no tensor "${tensorName}" ${what}.`);
    }
    const [height, width] = shape.slice(-2);
    const codes = Uint32Array.from(checkCodes(await file.readInt32(tensorName), path));
    if (!isClip) return { height, width, codes };
    return { frames: shape[0], height, width, framesPerSecond: Number(framesPerSecond), codes };
  } finally {
    await file.close();
  }
}

/** Reads codes of a clip. @throws Emu3Error as {@link readCodes}, `format` for codes of a picture. */
export async function readClipCodes(path: string): Promise<VideoCodes> {
  const codes = await readCodes(path);
  if ('frames' in codes) return codes;
  throw codesError(path, 'These are the codes of a picture, not of a clip.');
}

/** Whether a file holds codes, by the ending of its name. */
export function isCodesFile(path: string): boolean {
  return /\.(json|safetensors)$/i.test(path);
}

function parseCodes(text: string, path: string): PictureCodes | VideoCodes {
  const { codes: rows, framesPerSecond } = parseJsonObject(text, path);
  if (framesPerSecond === undefined) return parseRows(rows, path);
  if (typeof framesPerSecond !== 'number') throw codesError(path, 'The frame rate is no number.');
  const frames = (Array.isArray(rows) ? rows : []).map((frame: unknown) => parseRows(frame, path));
  const [first] = frames;
  if (first === undefined) throw codesError(path, 'There are no frames of codes under "codes".');
  const { height, width } = first;
  if (frames.some((frame) => frame.height !== height || frame.width !== width)) {
    throw codesError(path, 'The frames of codes differ in size.');
  }
  const codes = new Uint32Array(frames.length * height * width);
  for (const [index, frame] of frames.entries()) codes.set(frame.codes, index * height * width);
  return { frames: frames.length, height, width, framesPerSecond, codes };
}

function parseRows(rows: unknown, path: string): PictureCodes {
  if (!Array.isArray(rows) || rows.length === 0 || !rows.every(Array.isArray)) {
    throw codesError(path, 'There are no rows of codes under "codes".');
  }
  const width = rows[0].length;
  if (width === 0 || rows.some((row) => row.length !== width)) {
    throw codesError(path, 'The rows of codes are empty or differ in length.');
  }
  return { height: rows.length, width, codes: Uint32Array.from(checkCodes(rows.flat(), path)) };
}

function checkCodes(values: ArrayLike<unknown> & Iterable<unknown>, path: string): number[] {
  return Array.from(values, (value, index) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 31) return value;
    throw codesError(path, `Code ${index} is ${JSON.stringify(value)}, no whole number from 0.`);
  });
}

function codesError(where: string, message: string): Emu3Error {
  return new Emu3Error(message, { code: 'format', where, fix: 'Use a file that `emu3 encode` wrote.' });
}
