/** What the page of `video-export.test.ts` offers: exports, and what it reads back out of them. */
import { ALL_FORMATS, BlobSource, Input, VideoSampleSink } from 'mediabunny';
import { exportVideo, type VideoContainer } from '../../demos/web/video-export.js';
import { Emu3Error } from '../../kernels/core/errors.js';

export interface Exported {
  bytes: number;
  type: string;
  codec: string | null;
  height: number;
  width: number;
  /** Seconds. */
  times: number[];
  duration: number;
  /** Mean red, green and blue of each frame. */
  colours: number[][];
}

export interface ExportFailure {
  code: string;
  message: string;
}

/** Frame `index` is red, green or blue, by turns. */
function frames(count: number, height: number, width: number) {
  return Array.from({ length: count }, (_, index) => {
    const rgb = Uint8Array.from({ length: height * width * 3 }, (_value, at) => (at % 3 === index % 3 ? 200 : 40));
    return { rgb, height, width };
  });
}

async function readBack(blob: Blob): Promise<Exported> {
  const input = new Input({ source: new BlobSource(blob), formats: ALL_FORMATS });
  const track = await input.getPrimaryVideoTrack();
  if (track === null) throw new Error('no video track');
  const times: number[] = [];
  const colours: number[][] = [];
  const canvas = new OffscreenCanvas(await track.getDisplayWidth(), await track.getDisplayHeight());
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) throw new Error('no context');
  for await (const sample of new VideoSampleSink(track).samples()) {
    times.push(sample.timestamp);
    sample.draw(context, 0, 0);
    sample.close();
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const sums = [0, 0, 0];
    data.forEach((byte, at) => {
      if (at % 4 < 3) sums[at % 4] += byte;
    });
    colours.push(sums.map((sum) => (4 * sum) / data.length));
  }
  const { height, width } = canvas;
  const [codec, duration] = [await track.getCodec(), await track.computeDuration()];
  return { bytes: blob.size, type: blob.type, codec, height, width, times, duration, colours };
}

async function run(
  container: VideoContainer,
  count: number,
  size: { height: number; width: number },
  framesPerSecond: number,
  abortAt?: number,
): Promise<Exported | ExportFailure> {
  const controller = new AbortController();
  try {
    const blob = await exportVideo(frames(count, size.height, size.width), framesPerSecond, {
      container,
      signal: controller.signal,
      onProgress: (done) => {
        if (done === abortAt) controller.abort();
      },
    });
    return await readBack(blob);
  } catch (error) {
    if (error instanceof Emu3Error) return { code: error.code, message: error.message };
    throw error;
  }
}

Object.assign(window, { exportAndRead: run });
document.body.dataset['state'] = 'ready';
