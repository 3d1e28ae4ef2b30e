/** What the panels and the page know of each other. */
import type { EncodedImage, RgbImage, VideoCodes } from '../../index.js';
import type { ModelFacts, Task, TaskMessage } from './messages.js';

export interface Picture {
  /** What it shows, as far as is known. */
  name: string;
  encoded: EncodedImage;
}

export interface Clip {
  name: string;
  codes: VideoCodes;
  frames: readonly RgbImage[];
}

/** What the panels hand to each other: the last of each kind. */
export interface Gallery {
  picture?: Picture | undefined;
  clip?: Clip | undefined;
}

export interface Panel {
  /** Where what a failure is about (its `where`) can be mended. */
  readonly fields: Readonly<Record<string, HTMLInputElement>>;
  /** A model has been loaded. */
  begin(facts: ModelFacts): void;
  /** The gallery has changed, or whether a task can be started. */
  refresh(ready: boolean): void;
  /** What the panel's task tells. */
  receive(message: TaskMessage): void;
  /** The panel's task failed or was cancelled. */
  stopped(cancelled: boolean): void;
}

export interface Host {
  readonly gallery: Gallery;
  /** Starts a task whose messages come to the panel, which says when it is finished. */
  run(panel: Panel, task: Task, doing: string): void;
  /** Does work of the page's own that can be cancelled like a task. */
  work(panel: Panel, doing: string, work: (signal: AbortSignal) => Promise<void>): void;
  /** Tells how far the task is. */
  report(text: string, done?: number, total?: number): void;
  /** The task is done. */
  finish(text: string): void;
  /** Have all panels look at the gallery again. */
  galleryChanged(): void;
}
