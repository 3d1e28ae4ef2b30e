import { Emu3Error } from '../../kernels/core/errors.js';
import { encodeSafetensors, memorySource, SafetensorsFile } from '../../loader/index.node.js';
import { parseJsonObject } from '../../loader/json.js';
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

/** What a JSON file of codes holds: rows of codes. */
export function codesJson({ height, width, codes }: PictureCodes): object {
  const rows = Array.from({ length: height }, (_, row) => [...codes.subarray(row * width, (row + 1) * width)]);
  return { height, width, codes: rows };
}

/** Writes codes as `{ height, width, codes }` or as the I32 tensor `codes` [height, width], by the ending of the name. */
export async function writeCodes(path: string, picture: PictureCodes): Promise<void> {
  if (codesFormat(path) === 'json') {
    const { height, width, codes } = codesJson(picture) as { height: number; width: number; codes: number[][] };
    const rows = codes.map((row) => `    ${JSON.stringify(row)}`).join(',\n');
    await writeOutput(path, `{\n  "height": ${height},\n  "width": ${width},\n  "codes": [\n${rows}\n  ]\n}\n`);
    return;
  }
  const { height, width, codes } = picture;
  const values = Int32Array.from(codes);
  await writeOutput(
    path,
    await encodeSafetensors([{ name: tensorName, dtype: 'I32', shape: [height, width], values }]),
  );
}

/**
 * Reads what {@link writeCodes} writes; a safetensors tensor may be I32 or I64 with axes of length 1 in front.
 * @throws Emu3Error `missing`, `io`, `format`, `shape`.
 */
export async function readCodes(path: string): Promise<PictureCodes> {
  const format = codesFormat(path);
  const bytes = await readBytes(path);
  if (format === 'json') return parseCodes(new TextDecoder().decode(bytes), path);
  const file = await SafetensorsFile.open(memorySource(path, bytes));
  try {
    const found = file.tensors.get(tensorName);
    const axes = found?.shape.slice(-2) ?? [];
    if (found === undefined || axes.length !== 2 || found.shape.slice(0, -2).some((length) => length !== 1)) {
      throw codesError(path, `There is no tensor "${tensorName}" of one picture, [height, width].`);
    }
    const [height, width] = axes;
    return { height, width, codes: Uint32Array.from(checkCodes(await file.readInt32(tensorName), path)) };
  } finally {
    await file.close();
  }
}

function parseCodes(text: string, path: string): PictureCodes {
  const rows: unknown = parseJsonObject(text, path)['codes'];
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
