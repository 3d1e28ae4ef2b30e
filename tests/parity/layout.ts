import type { PixelClip } from '../../engine/models/vision/index.js';
import type { PixelBatch, PixelValues } from '../../tokenizer/index.js';
import type { RecordedTensor } from './recording.js';

/**
 * Recordings are channels first, the engine is channels last: moves axis `from` of a row-major tensor to the end, or
 * the last axis to place `to`.
 */
function moveAxis(data: ArrayLike<number>, shape: readonly number[], from: number, to: number): Float32Array {
  const order = shape.map((_, axis) => axis);
  const [axis] = order.splice(from, 1);
  order.splice(to, 0, axis);
  const strides = shape.map((_, index) => shape.slice(index + 1).reduce((product, size) => product * size, 1));
  const sizes = order.map((index) => shape[index]);
  const out = new Float32Array(data.length);
  const place = sizes.map(() => 0);
  for (let index = 0; index < out.length; index++) {
    let source = 0;
    for (let position = 0; position < order.length; position++) source += place[position] * strides[order[position]];
    out[index] = data[source];
    for (let position = sizes.length - 1; position >= 0; position--) {
      place[position] += 1;
      if (place[position] < sizes[position]) break;
      place[position] = 0;
    }
  }
  return out;
}

/** [B, T, H, W, C] to [B, T, C, H, W]. */
export function channelsFirst(data: ArrayLike<number>, shape: readonly number[]): Float32Array {
  return moveAxis(data, shape, shape.length - 1, shape.length - 3);
}

/** [B, T, H, W, C] to [B, C, T, H, W]. */
export function channelsBeforeTime(data: ArrayLike<number>, shape: readonly number[]): Float32Array {
  return moveAxis(data, shape, shape.length - 1, 1);
}

/** Recorded pixels, images [B, 3, H, W] or clips [B, T, 3, H, W]. */
export function pixelClip({ shape, data }: RecordedTensor): PixelClip {
  const [batch, frames] = [shape[0], shape.length === 4 ? 1 : shape[1]];
  const [channels, height, width] = shape.slice(-3);
  const whole = [batch, frames, channels, height, width];
  return { batch, frames, height, width, data: moveAxis(data, whole, 2, 4) };
}

/** A prepared picture, [3, H, W], as a clip of one frame. */
export function channelsLastImage({ data, height, width }: PixelValues): PixelClip {
  return { batch: 1, frames: 1, height, width, data: moveAxis(data, [3, height, width], 0, 2) };
}

/** Pictures padded into one batch, [B, 3, H, W], as clips of one frame. */
export function channelsLastBatch({ data, sizes, height, width }: PixelBatch): PixelClip {
  const batch = sizes.length;
  return { batch, frames: 1, height, width, data: moveAxis(data, [batch, 3, height, width], 1, 3) };
}
