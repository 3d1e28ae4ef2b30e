import type { RgbImage } from '../../../tokenizer/index.js';

/** What a long call tells while it works. */
export interface WorkEvents {
  readonly signal?: AbortSignal | undefined;
  /** Requests done so far. */
  readonly onDone?: ((count: number) => void) | undefined;
}

export interface DrawRequest {
  readonly prompt: string;
  /** 0 to 2^32 - 1. */
  readonly seed: number;
}

export interface FilmRequest extends DrawRequest {
  /** Frames in all. */
  readonly frames: number;
}

export interface ExtendRequest extends DrawRequest {
  /** What the clip begins with. */
  readonly context: readonly RgbImage[];
  /** New frames. */
  readonly frames: number;
}

/** A prompt to be written out in full; `context` is seen if the clip's beginning is given. */
export type RewriteRequest = DrawRequest & Partial<Pick<ExtendRequest, 'context'>>;

export interface PictureQuestion {
  readonly image: RgbImage;
  readonly question: string;
}

export interface ClipQuestion {
  readonly clip: readonly RgbImage[];
  readonly question: string;
}

export interface Reconstruction {
  readonly frames: readonly RgbImage[];
  readonly codes: ArrayLike<number>;
}

/**
 * What the evaluation asks of a model. A model lacks what it cannot do; the suites that need it are left out then. Answers
 * stand in the order of the requests; how many are worked on side by side is the model's affair.
 */
export interface EvaluatedModel {
  draw?(requests: readonly DrawRequest[], events: WorkEvents): Promise<readonly RgbImage[]>;
  /** Writes prompts out in full for what is to be drawn, as Emu3's own evaluation had them rewritten. */
  rewrite?(requests: readonly RewriteRequest[], events: WorkEvents): Promise<readonly string[]>;
  film?(requests: readonly FilmRequest[], events: WorkEvents): Promise<readonly (readonly RgbImage[])[]>;
  /** Gives the new frames alone. */
  extend?(requests: readonly ExtendRequest[], events: WorkEvents): Promise<readonly (readonly RgbImage[])[]>;
  answer?(requests: readonly PictureQuestion[], events: WorkEvents): Promise<readonly string[]>;
  answerClip?(requests: readonly ClipQuestion[], events: WorkEvents): Promise<readonly string[]>;
  caption?(images: readonly RgbImage[], events: WorkEvents): Promise<readonly string[]>;
  captionClip?(clips: readonly (readonly RgbImage[])[], events: WorkEvents): Promise<readonly string[]>;
  /** Pictures are clips of one frame. */
  reconstruct?(clips: readonly (readonly RgbImage[])[], events: WorkEvents): Promise<readonly Reconstruction[]>;
  /** Entries of the visual codebook. */
  readonly codebookSize?: number;
}

export type Ability = Exclude<keyof EvaluatedModel, 'codebookSize'>;
