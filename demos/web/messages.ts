/** What the page and its worker say to each other. */
import type {
  Answer,
  CodeClip,
  CodeGrid,
  EncodedImage,
  ErrorCode,
  OnePicture,
  RgbImage,
  VideoCodes,
} from '../../index.js';

/** What the controls of a panel that draws say. */
export interface DrawingSettings {
  prompt: string;
  /** Drawn at random when left out. */
  seed?: number;
  /** The model's own when left out, or none where a video's beginning is given. */
  guidance?: number;
  temperature: number;
}

/** What the worker can be asked for, one at a time. */
export type Task =
  /** With `rewrite` the model writes the prompt out in full first; see `Emu3.rewritePrompts`. */
  | { kind: 'draw'; settings: DrawingSettings; rewrite: boolean }
  /** `marks`: [height][width] in tokens, 1 where the picture is drawn anew. */
  | { kind: 'edit'; settings: DrawingSettings; picture: EncodedImage; marks: Uint8Array }
  /** `share` of the tokens drawn anew, above 0 and at most 1. */
  | { kind: 'vary'; settings: DrawingSettings; picture: EncodedImage; share: number }
  /** A picture file into tokens. */
  | { kind: 'encode'; file: Blob }
  | {
      kind: 'film';
      settings: DrawingSettings;
      rewrite: boolean;
      frames: number;
      framesPerSecond: number;
      first?: CodeGrid;
    }
  | { kind: 'continue'; settings: DrawingSettings; rewrite: boolean; clip: CodeClip; newFrames: number }
  /** With `about` a new conversation begins. */
  | { kind: 'ask'; question: string; about?: OnePicture }
  | { kind: 'caption'; about: OnePicture };

export type ToWorker =
  | { type: 'load'; model: string }
  | { type: 'run'; task: Task }
  /** Ends the task under way; the worker answers with `failed`, code `aborted`. */
  | { type: 'cancel' };

/** What the page needs to know of a loaded model. */
export interface ModelFacts {
  /** Of the token grid of a square picture. */
  rows: number;
  columns: number;
  /** Pixels along one side of a token. */
  factor: number;
  /** Frames that become one latent frame. */
  latentFrames: number;
  /** Weights of the transformer. */
  parameters: number;
  /** Red, green and blue for each codebook entry, [entries][3]. */
  palette: Uint8Array;
  guidance: number;
  temperature: number;
}

/** How long a drawing took. */
export interface Timing {
  /** Tokens written after the prompt. */
  tokens: number;
  /** Between asking and the last token; preparing programs the first time is part of it. */
  tokenSeconds: number;
  /** From the last token to the pixels. */
  pixelSeconds: number;
  /** Steady speed, measured from the first block of tokens on. */
  tokensPerSecond: number;
}

export interface DrawnPicture {
  /** What it was drawn from: the prompt, as the model wrote it out if it was asked to. */
  prompt: string;
  picture: EncodedImage;
  seed: number;
  /** Everything the model wrote after the prompt. */
  ids: Uint32Array;
  timing: Timing;
}

export interface FilmedClip {
  /** As of a {@link DrawnPicture}; of the last part of it. */
  prompt: string;
  clip: VideoCodes;
  /** All of one size. */
  frames: readonly RgbImage[];
  seed: number;
  timing: Timing;
}

/** An Emu3Error as plain data, since classes do not cross threads. */
export interface Failure {
  code: ErrorCode | 'unexpected';
  message: string;
  where: string;
  fix: string;
}

/** What a task tells, and last its result. */
export type TaskMessage =
  /** A row of the token grid; `frame` counts a clip's latent frames from its beginning and is 0 for a picture. */
  | { type: 'row'; frame: number; row: number; rows: number; codes: Uint32Array }
  | { type: 'tokens-complete' }
  /** A piece of an answer. */
  | { type: 'text'; piece: string }
  | { type: 'picture'; drawn: DrawnPicture }
  | { type: 'encoded'; picture: EncodedImage }
  | { type: 'clip'; filmed: FilmedClip }
  | { type: 'answer'; answer: Answer };

export type FromWorker =
  | { type: 'adapter'; description: string; software: boolean }
  | { type: 'progress'; part: string; loadedBytes: number; totalBytes: number }
  | { type: 'ready'; facts: ModelFacts }
  | { type: 'failed'; during: 'load' | 'task' | 'device'; failure: Failure }
  | TaskMessage;
