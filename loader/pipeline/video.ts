/** Clips and videos of a whole model: frames to codes and back, drawing, continuing. */
import { throwIfAborted } from '../../kernels/core/errors.js';
import { mix32 } from '../../kernels/core/mix.js';
import type { ClipEvents, VisionTokenizer } from '../../engine/models/vision/index.js';
import {
  calculateGenerateSize,
  prepareImage,
  type CodeClip,
  type PixelLimits,
  type RgbImage,
  type Size,
} from '../../tokenizer/index.js';
import {
  checkCodeClip,
  checkFrameCount,
  checkFrameRate,
  framesOf,
  pixelsOfFrames,
  type EncodedVideo,
  type VideoCodes,
  type VideoFrames,
} from './clip.js';
import { decodeVisual, longestOf } from './decode-visual.js';
import type { DecoderPool } from './decoders.js';
import { samplingOf } from './generate.js';
import { clipOf } from './pixels.js';
import { VideoCollector, type VideoEvents } from './video-collector.js';
import { fittingContext, planVideo, type VideoPlan, type VideoPlanContext } from './video-plan.js';
import {
  argument,
  checkCount,
  checkVideoRequest,
  type DrawnVideo,
  type EncodeClipOptions,
  type ExtendRequest,
  type GeneratedVideo,
  type VideoRequest,
} from './video-request.js';

/** Codes a clip may have in all: more are hardly meant, and would not fit the memory. */
const mostCodes = 2 ** 28;

/** What videos need of the model. */
export interface VideoHost extends Omit<VideoPlanContext, 'temporal'> {
  readonly vision: VisionTokenizer;
  readonly pixelLimits: PixelLimits;
  readonly decoders: DecoderPool;
  /** Runs one request at a time. */
  readonly inTurn: <Result>(work: () => Promise<Result>) => Promise<Result>;
}

export class VideoPipeline {
  private readonly host: VideoHost;

  constructor(host: VideoHost) {
    this.host = host;
  }

  private get context(): VideoPlanContext {
    return { ...this.host, temporal: this.temporal };
  }

  /** Frames that become one latent frame. */
  private get temporal(): number {
    return this.host.vision.config.temporal_downsample_factor;
  }

  private get codebookSize(): number {
    return this.host.tokenizer.special.visualCount;
  }

  async encode(frames: readonly RgbImage[], options: EncodeClipOptions): Promise<EncodedVideo> {
    const { framesPerSecond, limits } = options;
    checkFrameRate(framesPerSecond);
    throwIfAborted(options.signal, 'encodeClip');
    const { pixels, resized } = pixelsOfFrames(frames, this.temporal, { ...this.host.pixelLimits, ...limits });
    return this.host.inTurn(async () => {
      const { codes, frames: latent, height, width } = await this.host.vision.encodeClip(pixels, options);
      return { codes, frames: latent, height, width, framesPerSecond, resized };
    });
  }

  async decode(clip: CodeClip, events: ClipEvents): Promise<VideoFrames> {
    checkCodeClip(clip, this.codebookSize, 'clip');
    return this.host.inTurn(() => this.decodeFrames(clip, events));
  }

  private async decodeFrames(clip: CodeClip, events: ClipEvents): Promise<VideoFrames> {
    const { frames, height, width, framesPerSecond } = clip;
    const codes = { batch: 1, frames, height, width, codes: Uint32Array.from(clip.codes) };
    return { frames: framesOf(await this.host.vision.decodeClip(codes, events)), framesPerSecond };
  }

  private decodeTold(clip: CodeClip, video: number, { signal, onPixels }: VideoEvents): Promise<VideoFrames> {
    return this.decodeFrames(clip, { signal, onFrames: (done, total) => onPixels?.({ video, done, total }) });
  }

  async generate(requests: readonly VideoRequest[], events: VideoEvents): Promise<GeneratedVideo[]> {
    if (requests.length === 0) throw argument('requests', 'There is nothing to draw.', 'Give a prompt.');
    // Everything that needs no computing is refused before anything is computed.
    const lengths = requests.map((request) => checkVideoRequest(request, this.temporal, this.codebookSize));
    const plans: VideoPlan[] = [];
    for (const [index, request] of requests.entries()) {
      const { prompt, framesPerSecond } = request;
      const first = await this.firstFrames(request, events.signal);
      const size = first ?? this.sizeOf(request);
      const outline = {
        prompt,
        framesPerSecond,
        frames: lengths[index],
        height: size.height,
        width: size.width,
        begun: first?.codes ?? new Uint32Array(),
      };
      const begunFrames = first?.frames ?? 0;
      if (begunFrames >= outline.frames) {
        throw argument(
          'first',
          `The video has ${outline.frames} latent frames, and ${begunFrames} are there already.`,
          `Ask for ${(begunFrames + 1) * this.temporal} frames at least.`,
        );
      }
      plans.push(planVideo(outline, request, this.context));
    }
    return this.host.inTurn(async () => {
      const videos: GeneratedVideo[] = [];
      for (const group of this.sideBySide(plans)) {
        const collector = new VideoCollector(group, this.host.tokenizer.special, events, {
          video: videos.length,
          frame: 0,
          step: 0,
        });
        await this.write(group, collector, events.signal);
        for (const [index, { outline, begunFrames, seed }] of group.entries()) {
          const clip = { ...clipShape(outline), codes: collector.codes[index] };
          const decoded = await this.decodeTold(clip, videos.length, events);
          const { prompt } = outline;
          videos.push({ ...decoded, prompt, seed, clip, kept: begunFrames, ids: collector.ids[index] });
        }
      }
      return videos;
    });
  }

  async extend(request: ExtendRequest, events: VideoEvents): Promise<DrawnVideo> {
    const { newFrames, prompt = '', times = 1, contextFrames } = request;
    checkFrameCount(newFrames, this.temporal, 'newFrames');
    checkCount('times', times);
    if (contextFrames !== undefined) checkCount('contextFrames', contextFrames);
    const original = await this.codesOf(request.clip, events.signal);
    const shape = clipShape(original);
    const perFrame = shape.height * shape.width;
    const added = newFrames / this.temporal;
    const settings = { ...request, seed: samplingOf(request, this.host.defaults).seed };
    const total = original.frames + times * added;
    if (total * perFrame > mostCodes) {
      const where = times > 1 ? 'times' : 'newFrames';
      throw argument(
        where,
        `The clip would have ${total * this.temporal} frames.`,
        'Ask for fewer repetitions or frames.',
      );
    }
    const codes = new Uint32Array(total * perFrame);
    codes.set(original.codes);
    const planRound = (round: number): VideoPlan => {
      const there = original.frames + round * added;
      const most = Math.min(there, contextFrames ?? there);
      const outline = { ...shape, prompt };
      const kept = contextFrames === undefined ? fittingContext(outline, added, most, settings, this.context) : most;
      const begun = codes.slice((there - kept) * perFrame, there * perFrame);
      // Rounds of equal context would draw the same noise again by the same seed.
      const seed = round === 0 ? settings.seed : mix32(mix32(settings.seed) ^ round);
      return planVideo({ ...outline, frames: kept + added, begun }, { ...settings, seed }, this.context);
    };
    // The first rounds have the shortest contexts: the longest is refused before anything is drawn.
    if (contextFrames !== undefined) planRound(times - 1);
    planRound(0);
    return this.host.inTurn(async () => {
      let step = 0;
      for (let round = 0; round < times; round++) {
        const there = original.frames + round * added;
        const plan = planRound(round);
        const offsets = { video: 0, frame: there - plan.begunFrames, frames: total, step, steps: times * plan.steps };
        const collector = new VideoCollector([plan], this.host.tokenizer.special, events, offsets);
        await this.write([plan], collector, events.signal);
        codes.set(collector.codes[0].subarray(plan.begunFrames * perFrame), there * perFrame);
        step += plan.steps;
      }
      const clip = { ...shape, frames: total, codes };
      // What was there is seen by what comes behind it and not the other way round, so the whole is decoded in one go.
      const decoded = await this.decodeTold(clip, 0, events);
      return { ...decoded, prompt, seed: settings.seed, clip, kept: original.frames };
    });
  }

  private async write(plans: readonly VideoPlan[], collector: VideoCollector, signal?: AbortSignal): Promise<void> {
    const { decoders, tokenizer } = this.host;
    await decodeVisual(plans, { decoders, special: tokenizer.special }, (block) => collector.add(block), signal);
  }

  /** Parts a batch where the longest prompt and the longest video of it would not fit the context together. */
  private sideBySide(plans: readonly VideoPlan[]): VideoPlan[][] {
    const groups: VideoPlan[][] = [];
    for (const plan of plans) {
      const last = groups.at(-1);
      const { prompts, steps } = longestOf([...(last ?? []), plan]);
      if (last !== undefined && prompts + steps <= this.host.contextLength) last.push(plan);
      else groups.push([plan]);
    }
    return groups;
  }

  private sizeOf({ size, ratio }: VideoRequest): Size {
    if (size === undefined) return calculateGenerateSize(ratio ?? '1:1', this.host.imageArea, this.host.factor);
    if (ratio === undefined) return size;
    throw argument('size', 'Both a size and a ratio were given.', 'Give one.');
  }

  private async firstFrames(
    { first, framesPerSecond }: VideoRequest,
    signal: AbortSignal | undefined,
  ): Promise<VideoCodes | undefined> {
    if (first === undefined) return undefined;
    if ('codes' in first) return { ...first, codes: Uint32Array.from(first.codes) };
    if (!('rgb' in first)) return this.encode(first, { framesPerSecond, signal });
    const pixels = clipOf(prepareImage(first, this.host.pixelLimits));
    return this.host.inTurn(async () => {
      const { codes, frames, height, width } = await this.host.vision.encode(pixels, signal);
      return { codes, frames, height, width, framesPerSecond };
    });
  }

  private async codesOf(clip: CodeClip | VideoFrames, signal: AbortSignal | undefined): Promise<VideoCodes> {
    if (!('codes' in clip)) return this.encode(clip.frames, { framesPerSecond: clip.framesPerSecond, signal });
    checkCodeClip(clip, this.codebookSize, 'clip');
    return { ...clip, codes: Uint32Array.from(clip.codes) };
  }
}

function clipShape({ frames, height, width, framesPerSecond }: Omit<CodeClip, 'codes'>): Omit<CodeClip, 'codes'> {
  return { frames, height, width, framesPerSecond };
}
