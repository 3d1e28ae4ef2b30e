/** Between bytes, rows from the top, and the vision tokenizer's channels-last numbers. */
import type { PixelClip } from '../../engine/models/vision/index.js';
import { normalise, postprocess, type CodeGrid, type PixelValues, type RgbImage } from '../../tokenizer/index.js';

const channels = 3;

export interface EncodedImage extends CodeGrid {
  /** Codebook entries, [height][width]; height and width in tokens. */
  codes: Uint32Array;
  /** The picture at the size it was encoded at. */
  resized: RgbImage;
}

/** A clip of one frame, from -1 to 1. */
export function clipOf(image: RgbImage | PixelValues): PixelClip {
  const { data, height, width } = 'rgb' in image ? normalise(image) : image;
  return { batch: 1, frames: 1, height, width, data: interleave(data, height * width) };
}

/** Pictures of one size, one after the other, as clips of so many frames each. */
export function clipsOf(images: readonly RgbImage[], frames = 1): PixelClip {
  const [{ height, width }] = images;
  const length = channels * height * width;
  const data = new Float32Array(images.length * length);
  images.forEach((image, index) => data.set(clipOf(image).data, index * length));
  return { batch: images.length / frames, frames, height, width, data };
}

/** `[3][area]` to `[area][3]`. */
function interleave(planes: Float32Array, area: number): Float32Array {
  const out = new Float32Array(channels * area);
  for (let channel = 0; channel < channels; channel++) {
    for (let pixel = 0; pixel < area; pixel++) out[pixel * channels + channel] = planes[channel * area + pixel];
  }
  return out;
}

/** Bytes of the first frame of each picture of a decoded batch. */
export function imagesOf({ batch, frames, height, width, data }: PixelClip): RgbImage[] {
  const area = height * width;
  return Array.from({ length: batch }, (_, index) => {
    const planes = new Float32Array(channels * area);
    const start = index * frames * area * channels;
    for (let channel = 0; channel < channels; channel++) {
      for (let pixel = 0; pixel < area; pixel++) {
        planes[channel * area + pixel] = data[start + pixel * channels + channel];
      }
    }
    return postprocess({ data: planes, height, width });
  });
}
