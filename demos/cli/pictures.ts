import { readFile } from 'node:fs/promises';
import { Emu3Error } from '../../kernels/core/errors.js';
import { fileError } from '../../loader/io-error.node.js';
import { nodeImageCodec, type RgbImage } from '../../tokenizer/index.node.js';

const channels = 3;

/** @throws Emu3Error `missing`, `io`, `image`, naming the file. */
export async function readPicture(path: string): Promise<RgbImage> {
  return decodePicture(await readBytes(path), path);
}

/** @throws Emu3Error `image`, naming the file. */
export async function decodePicture(bytes: Uint8Array, path: string): Promise<RgbImage> {
  try {
    return await nodeImageCodec.decodeImage(bytes);
  } catch (error) {
    if (!(error instanceof Emu3Error)) throw error;
    const { code, fix } = error;
    throw new Emu3Error('The picture could not be read.', { code, where: path, fix, cause: error });
  }
}

export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}

/** Every pixel as `scale` x `scale` pixels, so that small pictures can be looked at. */
export function enlarge({ rgb, height, width }: RgbImage, scale: number): RgbImage {
  if (scale === 1) return { rgb, height, width };
  const large = { rgb: new Uint8Array(rgb.length * scale * scale), height: height * scale, width: width * scale };
  for (let row = 0; row < large.height; row++) {
    for (let column = 0; column < large.width; column++) {
      const source = (Math.floor(row / scale) * width + Math.floor(column / scale)) * channels;
      large.rgb.set(rgb.subarray(source, source + channels), (row * large.width + column) * channels);
    }
  }
  return large;
}

export async function encodePng(picture: RgbImage, scale: number): Promise<Uint8Array> {
  const { rgb, height, width } = enlarge(picture, scale);
  return nodeImageCodec.encodePng(rgb, width, height);
}
