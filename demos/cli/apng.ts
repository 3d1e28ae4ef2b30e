/** Animated PNG, through the image-in-browser library; sharp writes and reads single frames only. */
import type { RgbImage } from '../../tokenizer/index.node.js';

const channels = 3;

/** @param delays milliseconds of each frame. */
export async function encodeApng(frames: readonly RgbImage[], delays: readonly number[]): Promise<Uint8Array> {
  // Loaded when needed only: few runs write this format.
  const { encodePng, MemoryImage } = await import('image-in-browser');
  const [first, ...others] = frames.map(({ rgb, height, width }, index) => {
    const image = MemoryImage.fromBytes({ width, height, bytes: rgb.slice().buffer, numChannels: channels });
    image.frameDuration = delays[index];
    return image;
  });
  for (const image of others) first.addFrame(image);
  return encodePng({ image: first });
}

/** Whether a PNG file says that it is an animation: the chunk must stand before the picture's data. */
export function isApng(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let place = 8;
  while (place + 8 <= bytes.byteLength) {
    const type = String.fromCharCode(...bytes.subarray(place + 4, place + 8));
    if (type === 'acTL') return true;
    if (type === 'IDAT') return false;
    place += 12 + view.getUint32(place);
  }
  return false;
}

/** Frames, drawn over each other as the file says, and their times in milliseconds; undefined for a damaged file. */
export async function decodeApng(bytes: Uint8Array): Promise<{ frames: RgbImage[]; delays: number[] } | undefined> {
  const { decodePng, Format } = await import('image-in-browser');
  const image = decodePng({ data: bytes.slice() });
  if (image === undefined) return undefined;
  const frames = image.frames.map((frame): RgbImage => {
    const { height, width } = frame;
    const rgb = frame.convert({ numChannels: channels, format: Format.uint8 }).toUint8Array();
    return { height, width, rgb: new Uint8Array(rgb) };
  });
  return { frames, delays: image.frames.map(({ frameDuration }) => frameDuration) };
}
