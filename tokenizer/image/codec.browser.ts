/** Picture files in a browser, through its own decoders. Works on a page and in a worker. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { ImageCodec } from './codec.js';
import { damagedImage } from './codec.js';
import { checkRgb } from './resize.js';

export const browserImageCodec: ImageCodec = {
  async decodeImage(bytes) {
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]), {
        premultiplyAlpha: 'none',
        colorSpaceConversion: 'none',
      });
    } catch (cause) {
      throw damagedImage(bytes.length, cause);
    }
    try {
      const { width, height } = bitmap;
      let rgba = readOpaque(bitmap);
      if (rgba.some((value, index) => index % 4 === 3 && value !== 255)) rgba = readWithAlpha(bitmap);
      const rgb = new Uint8Array(width * height * 3);
      for (let pixel = 0; pixel < width * height; pixel++) {
        for (let channel = 0; channel < 3; channel++) rgb[pixel * 3 + channel] = rgba[pixel * 4 + channel];
      }
      return { rgb, height, width };
    } finally {
      bitmap.close();
    }
  },

  async encodePng(rgb, width, height) {
    checkRgb(rgb, width, height);
    const pixels = new ImageData(width, height);
    pixels.data.fill(255);
    for (let pixel = 0; pixel < width * height; pixel++) {
      for (let channel = 0; channel < 3; channel++) pixels.data[pixel * 4 + channel] = rgb[pixel * 3 + channel];
    }
    const canvas = new OffscreenCanvas(width, height);
    context2d(canvas).putImageData(pixels, 0, 0);
    const blob = await canvas.convertToBlob({ type: 'image/png' });
    return new Uint8Array(await blob.arrayBuffer());
  },
};

function noContext(kind: string): Emu3Error {
  return new Emu3Error(`The browser gives no ${kind} context for reading a picture.`, {
    code: 'unsupported',
    where: 'OffscreenCanvas',
    fix: 'Turn hardware acceleration on, or use a picture without transparency.',
  });
}

function context2d(canvas: OffscreenCanvas): OffscreenCanvasRenderingContext2D {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) throw noContext('2d');
  return context;
}

/** RGBA bytes; exact where alpha is 255. A 2-D canvas multiplies colours by alpha, so elsewhere they are lost. */
function readOpaque(bitmap: ImageBitmap): Uint8ClampedArray | Uint8Array {
  const context = context2d(new OffscreenCanvas(bitmap.width, bitmap.height));
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

/** RGBA bytes of a transparent picture: a texture keeps its colours as the file has them. */
function readWithAlpha(bitmap: ImageBitmap): Uint8Array {
  const context = new OffscreenCanvas(1, 1).getContext('webgl2');
  if (context === null) throw noContext('webgl2');
  const { TEXTURE_2D, RGBA, UNSIGNED_BYTE, FRAMEBUFFER, COLOR_ATTACHMENT0 } = context;
  const texture = context.createTexture();
  context.bindTexture(TEXTURE_2D, texture);
  context.pixelStorei(context.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  context.texImage2D(TEXTURE_2D, 0, RGBA, RGBA, UNSIGNED_BYTE, bitmap);
  context.bindFramebuffer(FRAMEBUFFER, context.createFramebuffer());
  context.framebufferTexture2D(FRAMEBUFFER, COLOR_ATTACHMENT0, TEXTURE_2D, texture, 0);
  const rgba = new Uint8Array(bitmap.width * bitmap.height * 4);
  context.readPixels(0, 0, bitmap.width, bitmap.height, RGBA, UNSIGNED_BYTE, rgba);
  const failed = context.getError() !== context.NO_ERROR;
  context.getExtension('WEBGL_lose_context')?.loseContext();
  if (failed) throw noContext('webgl2');
  return rgba;
}
