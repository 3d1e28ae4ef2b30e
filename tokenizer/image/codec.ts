/** How picture files become bytes and back; Node and browsers each have their own way. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { RgbImage } from './pixels.js';

/**
 * Both codecs treat files alike: alpha is dropped and not blended, grey is repeated for the three channels, CMYK is
 * converted, 16 bits are cut to 8, a camera's orientation tag is applied, colour profiles are ignored.
 */
export interface ImageCodec {
  /**
   * Reads a PNG, JPEG, WebP or whatever else the platform reads.
   * @throws Emu3Error `image` when the file is damaged or not a picture
   */
  decodeImage(bytes: Uint8Array): Promise<RgbImage>;
  /**
   * Writes an RGB PNG.
   * @param rgb `[height][width][3]`
   * @throws Emu3Error `image` when the bytes do not fit the size
   */
  encodePng(rgb: Uint8Array, width: number, height: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** The error for a file that is no picture or a damaged one. */
export function damagedImage(byteCount: number, cause: unknown): Emu3Error {
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
  return new Emu3Error(`The picture could not be read: ${reason}.`, {
    code: 'image',
    where: `${byteCount} bytes`,
    fix: 'Give an undamaged PNG, JPEG or WebP file.',
    cause,
  });
}
