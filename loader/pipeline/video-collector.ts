/** Tokens of videos, told as they become known. */
import type { DecodedBlock } from '../../engine/decode/index.js';
import { isVisual, latentFrameLength, type SpecialTokens } from '../../tokenizer/index.js';
import type { VideoPlan } from './video-plan.js';

/** One token of a video. */
export interface VideoTokenEvent {
  /** Index of the video in its batch. */
  video: number;
  /** From 0, counting what the model writes. */
  step: number;
  /** Tokens the model writes in all. */
  steps: number;
  id: number;
  /** Latent frame from the clip's beginning, place in its grid, and codebook entry, for visual tokens. */
  visual?: { frame: number; row: number; column: number; code: number };
}

/** One finished row of a latent frame. */
export interface VideoRowEvent {
  video: number;
  /** Latent frame, from the clip's beginning. */
  frame: number;
  row: number;
  /** Rows of a latent frame. */
  rows: number;
  /** Codebook entries of the row, [width]. */
  codes: Uint32Array;
}

/** One finished latent frame. */
export interface VideoFrameEvent {
  video: number;
  /** From the clip's beginning. */
  frame: number;
  /** Latent frames the clip will have. */
  frames: number;
  /** Codebook entries of the latent frame, [height][width]. */
  codes: Uint32Array;
}

/** How far a video's codes are turned into pixels. */
export interface VideoPixelsEvent {
  video: number;
  /** Frames done and in all, of this video. */
  done: number;
  total: number;
}

export interface VideoEvents {
  signal?: AbortSignal;
  onToken?: (event: VideoTokenEvent) => void;
  onRow?: (event: VideoRowEvent) => void;
  onFrame?: (event: VideoFrameEvent) => void;
  /** Told after each pass of a video's decoding, at least once a video. */
  onPixels?: (event: VideoPixelsEvent) => void;
}

/** Where the videos of a batch stand in what is drawn altogether. */
export interface CollectorOffsets {
  /** Index of the first video. */
  video: number;
  /** Latent frames of the clip before the first of the plan. */
  frame: number;
  /** Latent frames the clip will have; default those of the plan. */
  frames?: number;
  /** Tokens written before. */
  step: number;
  /** Tokens to be written in all; default those of the plan. */
  steps?: number;
}

/** Collects the ids of a batch of videos and tells them. */
export class VideoCollector {
  /** Ids the model wrote for each video, padding left out. */
  readonly ids: readonly Uint32Array[];
  /** Codebook entries of each video, those that were there before included. */
  readonly codes: readonly Uint32Array[];
  private readonly plans: readonly VideoPlan[];
  private readonly special: SpecialTokens;
  private readonly events: VideoEvents;
  private readonly offsets: CollectorOffsets;

  constructor(
    plans: readonly VideoPlan[],
    special: SpecialTokens,
    events: VideoEvents,
    offsets: CollectorOffsets = { video: 0, frame: 0, step: 0 },
  ) {
    this.plans = plans;
    this.special = special;
    this.events = events;
    this.offsets = offsets;
    this.ids = plans.map(({ steps }) => new Uint32Array(steps));
    this.codes = plans.map(({ outline }) => {
      const codes = new Uint32Array(outline.frames * outline.height * outline.width);
      codes.set(outline.begun);
      return codes;
    });
  }

  add(block: DecodedBlock): void {
    for (let index = 0; index < block.ids[0].length; index++) {
      for (let video = 0; video < this.plans.length; video++) {
        this.addToken(video, block.firstStep + index, block.ids[video][index]);
      }
    }
  }

  private addToken(index: number, step: number, id: number): void {
    const { offsets, events } = this;
    const { outline, begunFrames, steps } = this.plans[index];
    if (step >= steps) return;
    this.ids[index][step] = id;
    const { height, width } = outline;
    const frameLength = latentFrameLength(outline);
    const frame = begunFrames + Math.floor(step / frameLength);
    const place = step % frameLength;
    const [row, column] = [Math.floor(place / (width + 1)), place % (width + 1)];
    const video = index + offsets.video;
    const codes = this.codes[index];
    const event: VideoTokenEvent = { video, step: step + offsets.step, steps: offsets.steps ?? steps, id };
    if (isVisual(id, this.special)) {
      const code = id - this.special.visualStart;
      codes[(frame * height + row) * width + column] = code;
      event.visual = { frame: frame + offsets.frame, row, column, code };
    }
    events.onToken?.(event);
    if (frame >= outline.frames) return;
    const told = { video, frame: frame + offsets.frame };
    const first = frame * height * width;
    if (column === width && row < height) {
      events.onRow?.({
        ...told,
        row,
        rows: height,
        codes: codes.slice(first + row * width, first + (row + 1) * width),
      });
    }
    if (place === frameLength - 1) {
      const frames = offsets.frames ?? outline.frames;
      events.onFrame?.({ ...told, frames, codes: codes.slice(first, first + height * width) });
    }
  }
}
