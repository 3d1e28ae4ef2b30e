/** Videos as MP4 and WebM files, through the browser's own encoders and the mediabunny library. */
import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { RgbImage } from '../../tokenizer/index.js';

export type VideoContainer = 'mp4' | 'webm';

export interface VideoExportOptions {
  container: VideoContainer;
  signal?: AbortSignal;
  /** Told after each frame. */
  onProgress?: (done: number, total: number) => void;
}

/** Codecs of each container, the one that most programs play first. */
const codecs = { mp4: ['avc', 'av1', 'vp9', 'hevc'], webm: ['vp9', 'vp8', 'av1'] } as const;

/**
 * Encodes frames of one size.
 *
 * @param frames at least one.
 * @param framesPerSecond above 0.
 * @throws Emu3Error `unsupported` when the browser has no video encoder, or none for the container's codecs at this size;
 *   `argument` without frames, `shape` for frames of different sizes, `aborted`.
 */
export async function exportVideo(
  frames: readonly RgbImage[],
  framesPerSecond: number,
  { container, signal, onProgress }: VideoExportOptions,
): Promise<Blob> {
  throwIfAborted(signal, 'video export');
  const { height, width } = checkFrames(frames);
  if (typeof VideoEncoder === 'undefined') {
    throw new Emu3Error('This browser has no video encoder.', {
      code: 'unsupported',
      where: 'WebCodecs',
      fix: 'Open the page over https or on localhost in a current browser, or save an animation instead.',
    });
  }
  // Loaded when first needed: pages that export nothing do without it.
  const media = await import('mediabunny');
  const quality = new media.Quality('very-high');
  const options = { height, width, quality, frameRate: framesPerSecond };
  const codec = await media.getFirstEncodableVideoCodec([...codecs[container]], options);
  if (codec === null) {
    const other: VideoContainer = container === 'mp4' ? 'webm' : 'mp4';
    throw new Emu3Error(
      `This browser encodes none of ${codecs[container].join(', ')} at ${width} x ${height} pixels (width x height), which ` +
        `${container} files need.`,
      { code: 'unsupported', where: container, fix: `Try ${other}, another browser, or save an animation instead.` },
    );
  }
  const target = new media.BufferTarget();
  const format = container === 'mp4' ? new media.Mp4OutputFormat() : new media.WebMOutputFormat();
  const output = new media.Output({ format, target });
  const source = new media.VideoSampleSource({ codec, quality });
  output.addVideoTrack(source, { frameRate: framesPerSecond });
  try {
    await output.start();
    for (const [index, frame] of frames.entries()) {
      throwIfAborted(signal, 'video export');
      const sample = new media.VideoSample(withOpacity(frame), {
        format: 'RGBX',
        codedHeight: height,
        codedWidth: width,
        timestamp: index / framesPerSecond,
        duration: 1 / framesPerSecond,
      });
      try {
        await source.add(sample);
      } finally {
        sample.close();
      }
      onProgress?.(index + 1, frames.length);
    }
    await output.finalize();
  } catch (error) {
    // The failure itself is worth more than that of cleaning up.
    await output.cancel().catch(() => undefined);
    throw error;
  }
  if (target.buffer === null) throw new Error('The finished video is empty.');
  return new Blob([target.buffer], { type: `video/${container}` });
}

function checkFrames(frames: readonly RgbImage[]): { height: number; width: number } {
  const [first] = frames;
  if (first === undefined) {
    throw new Emu3Error('There are no frames.', { code: 'argument', where: 'frames', fix: 'Give one at least.' });
  }
  const { height, width } = first;
  const odd = frames.findIndex((frame) => frame.height !== height || frame.width !== width);
  if (odd < 0) return { height, width };
  throw new Emu3Error(
    `Frame ${odd} has ${frames[odd].height} x ${frames[odd].width} pixels (height x width), frame 0 has ${height} x ${width}.`,
    { code: 'shape', where: `frame ${odd}`, fix: 'Give frames of one size.' },
  );
}

/** `[pixels][3]` to `[pixels][4]`. */
function withOpacity({ rgb, height, width }: RgbImage): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(height * width * 4);
  for (let pixel = 0; pixel < height * width; pixel++) {
    out.set(rgb.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    out[4 * pixel + 3] = 255;
  }
  return out;
}
