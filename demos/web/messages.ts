/** What the page and its worker say to each other. */
import type { ErrorCode } from '../../index.js';

/** A picture as the controls ask for it. */
export interface PictureRequest {
  prompt: string;
  /** Drawn at random when left out. */
  seed?: number;
  guidance: number;
  temperature: number;
}

export type ToWorker =
  | { type: 'load'; model: string }
  | { type: 'generate'; request: PictureRequest }
  /** Ends the picture being drawn; the worker answers with `failed`, code `aborted`. */
  | { type: 'cancel' };

/** What the page needs to know of a loaded model. */
export interface ModelFacts {
  /** Of the token grid. */
  rows: number;
  columns: number;
  /** Weights of the transformer. */
  parameters: number;
  /** Red, green and blue for each codebook entry, [entries][3]. */
  palette: Uint8Array;
  guidance: number;
  temperature: number;
}

export interface DrawnPicture {
  /** [height][width][3] */
  rgb: Uint8Array;
  height: number;
  width: number;
  seed: number;
  /** Everything the model wrote after the prompt. */
  ids: Uint32Array;
  /** Between asking and the last token; preparing programs the first time is part of it. */
  tokenSeconds: number;
  /** From the last token to the pixels. */
  pixelSeconds: number;
  /** Steady speed, measured from the first block of tokens on. */
  tokensPerSecond: number;
}

/** An Emu3Error as plain data, since classes do not cross threads. */
export interface Failure {
  code: ErrorCode | 'unexpected';
  message: string;
  where: string;
  fix: string;
}

export type FromWorker =
  | { type: 'adapter'; description: string; software: boolean }
  | { type: 'progress'; part: string; loadedBytes: number; totalBytes: number }
  | { type: 'ready'; facts: ModelFacts }
  | { type: 'row'; row: number; codes: Uint32Array }
  | { type: 'tokens-complete' }
  | { type: 'picture'; picture: DrawnPicture }
  | { type: 'failed'; during: 'load' | 'generate' | 'device'; failure: Failure };
