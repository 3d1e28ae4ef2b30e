/** Picture files in Node, through the sharp library. */
import sharp from 'sharp';
import type { ImageCodec } from './codec.js';
import { damagedImage } from './codec.js';
import { checkRgb } from './resize.js';

export const nodeImageCodec: ImageCodec = {
  async decodeImage(bytes) {
    try {
      const { data, info } = await sharp(bytes, { ignoreIcc: true })
        .autoOrient()
        .removeAlpha()
        .toColourspace('srgb')
        .raw({ depth: 'uchar' })
        .toBuffer({ resolveWithObject: true });
      if (info.channels !== 3) throw new Error(`expected 3 channels, found ${info.channels}`);
      return { rgb: new Uint8Array(data), height: info.height, width: info.width };
    } catch (cause) {
      throw damagedImage(bytes.length, cause);
    }
  },

  async encodePng(rgb, width, height) {
    checkRgb(rgb, width, height);
    const file = await sharp(rgb, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    return new Uint8Array(file);
  },
};
