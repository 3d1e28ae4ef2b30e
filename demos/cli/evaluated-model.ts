import { spatialFactor } from '../../engine/models/vision/index.js';
import { throwIfAborted } from '../../kernels/core/errors.js';
import type { ChatRequest, UserMessage } from '../../loader/pipeline/chat.js';
import type { EncodedVideo } from '../../loader/pipeline/clip.js';
import type { Emu3 } from '../../loader/pipeline/emu3.js';
import type { SamplingOptions } from '../../loader/pipeline/generate.js';
import { clipsOf, imagesOf } from '../../loader/pipeline/pixels.js';
import type { PromptToRewrite } from '../../loader/pipeline/rewrite.js';
import type { RgbImage } from '../../tokenizer/index.js';
import { framesPerSecond } from '../nano/world/scene.js';
import type { EvaluatedModel, Reconstruction, WorkEvents } from '../nano/eval/model.js';

export interface EvaluatedOptions {
  /** Requests side by side. */
  batch: number;
  sampling: SamplingOptions & { guidance?: number; negativePrompt?: string };
  /** Of the pictures it draws, pixels; default what the model's configuration says, square. */
  side?: number | undefined;
}

/** Tokens of the longest answer; those of the world are shorter. */
const longestAnswer = 80;

/** A whole model as the evaluation asks it. */
export function evaluatedModel(emu3: Emu3, { batch, sampling, side }: EvaluatedOptions): EvaluatedModel {
  const tokens = side === undefined ? undefined : side / spatialFactor(emu3.vision.config);
  const shape = tokens === undefined ? { ratio: '1:1' } : { size: { height: tokens, width: tokens } };
  const encoded = (frames: readonly RgbImage[], events: WorkEvents): Promise<EncodedVideo> =>
    emu3.encodeClip(frames, { framesPerSecond, ...signalOf(events) });
  return {
    codebookSize: emu3.vision.config.codebook_size,
    draw: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked = group.map((request) => ({ ...sampling, ...request, ...shape }));
        return (await emu3.generateBatch(asked, signalOf(events))).map(({ image }) => image);
      }),
    rewrite: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked: PromptToRewrite[] = [];
        for (const { prompt, seed, context } of group) {
          const beginning = context && (await encoded(context, events));
          asked.push({ prompt, seed, ...(beginning && { beginning }) });
        }
        return emu3.rewritePrompts(asked, signalOf(events));
      }),
    film: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked = group.map((request) => ({ ...sampling, ...request, framesPerSecond, ratio: '1:1' }));
        return (await emu3.generateVideoBatch(asked, signalOf(events))).map(({ frames }) => frames);
      }),
    extend: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked = group.map(({ prompt, seed, context, frames }) => {
          const length = context.length + frames;
          return { ...sampling, prompt, seed, first: context, frames: length, framesPerSecond };
        });
        const videos = await emu3.generateVideoBatch(asked, signalOf(events));
        return videos.map(({ frames }, index) => frames.slice(group[index].context.length));
      }),
    answer: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked = group.map(({ image, question }) => asking(question, { images: [image] }));
        return (await emu3.chatBatch(asked, signalOf(events))).map(({ text }) => text);
      }),
    answerClip: (requests, events) =>
      inBatches(requests, batch, events, async (group) => {
        const asked = [];
        for (const { clip, question } of group) {
          asked.push(asking(question, { clips: [await encoded(clip, events)] }));
        }
        return (await emu3.chatBatch(asked, signalOf(events))).map(({ text }) => text);
      }),
    caption: (images, events) =>
      inBatches(images, 1, events, async ([image]) => [
        (await emu3.caption({ image, maxNewTokens: longestAnswer, ...signalOf(events) })).text,
      ]),
    captionClip: (clips, events) =>
      inBatches(clips, 1, events, async ([frames]) => {
        const clip = await encoded(frames, events);
        return [(await emu3.caption({ clip, maxNewTokens: longestAnswer, ...signalOf(events) })).text];
      }),
    reconstruct: (clips, events) => reconstruct(emu3, clips, batch, events),
  };
}

/** A conversation of one question. */
function asking(text: string, about: Pick<UserMessage, 'images' | 'clips'>): ChatRequest {
  return { messages: [{ role: 'user', text, ...about }], maxNewTokens: longestAnswer };
}

function signalOf({ signal }: WorkEvents): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

async function inBatches<Request, Result>(
  requests: readonly Request[],
  size: number,
  { signal, onDone }: WorkEvents,
  work: (group: readonly Request[]) => Promise<readonly Result[]>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < requests.length; from += size) {
    throwIfAborted(signal, 'eval');
    results.push(...(await work(requests.slice(from, from + size))));
    onDone?.(results.length);
  }
  return results;
}

/** Through the vision tokenizer and back: pictures side by side, clips one after the other. */
async function reconstruct(
  { vision }: Emu3,
  clips: readonly (readonly RgbImage[])[],
  batch: number,
  { signal, onDone }: WorkEvents,
): Promise<Reconstruction[]> {
  const results: Reconstruction[] = [];
  while (results.length < clips.length) {
    throwIfAborted(signal, 'eval');
    const group = groupFrom(clips, results.length, batch);
    const frames = group[0].length;
    const encoded = await vision.encode(clipsOf(group.flat(), frames), signal);
    const decoded = await vision.decode(encoded, frames === 1, signal);
    // Frames of clips lie behind one another as the pictures of a batch do.
    const images = imagesOf({ ...decoded, batch: decoded.batch * decoded.frames, frames: 1 });
    const codes = encoded.codes.length / group.length;
    group.forEach((_, index) => {
      const first = index * decoded.frames;
      results.push({
        frames: images.slice(first, first + frames),
        codes: encoded.codes.subarray(index * codes, (index + 1) * codes),
      });
    });
    onDone?.(results.length);
  }
  return results;
}

/** Pictures up to the next clip, or a clip. */
function groupFrom(
  clips: readonly (readonly RgbImage[])[],
  from: number,
  batch: number,
): readonly (readonly RgbImage[])[] {
  const ahead = clips.slice(from, from + batch);
  const end = ahead.findIndex((frames) => frames.length > 1);
  return ahead.slice(0, end < 0 ? batch : Math.max(1, end));
}
