import type { Ceilings, DispatchCost } from './ceilings.js';
import type { Timing } from './measure.js';

/** Everything of one run: what the JSON file holds. Times are in seconds. */
export interface Results {
  readonly header: Header;
  readonly roofline: Roofline;
  readonly kernels: readonly KernelFigure[];
  readonly workloads: readonly WorkloadFigure[];
  readonly skipped: readonly Skipped[];
}

export interface Header {
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Short hash, with `+` where files differ from it. */
  readonly commit: string;
  readonly adapter: string;
  readonly kind: string;
  readonly driver: string;
  readonly features: string;
  readonly node: string;
  readonly processor: string;
  readonly cores: number;
  /** Programs that wanted a core when the run began, the average of a minute: above 0 disturbs software adapters. */
  readonly loadAtStart: number;
  readonly rounds: number;
}

export interface Roofline {
  /** The best of the whole run. */
  readonly ceilings: Ceilings;
  /** The middle of all samples: far below the best on a machine that had other things to do. */
  readonly median: Ceilings;
  readonly samples: number;
  readonly dispatch: DispatchCost;
}

/** What keeps a kernel from being faster: the ceiling its work meets first, or the cost of its dispatches alone. */
export type Limit = 'memory' | 'arithmetic' | 'dispatch';

/** One kernel's part in a run of something, summed over its dispatches. */
export interface KernelTimes {
  readonly kernel: string;
  readonly dispatches: number;
  readonly time: Timing;
  readonly bytes: number;
  readonly flops: number;
  /** What the roofline asks for at least. */
  readonly bound: number;
  readonly limit: Limit;
}

/** A kernel of a case. Bound and time are of the same minutes: the ceilings were measured between its rounds and shortly before. */
export interface KernelFigure extends KernelTimes {
  readonly op: string;
  readonly sizes: string;
}

export type Section = 'decode' | 'train' | 'vision';

/** A whole piece of work: a picture's tokens, a training step. */
export interface WorkloadFigure {
  readonly section: Section;
  readonly name: string;
  /** As the host sees it: uploads, submits, waiting and reading back included. */
  readonly time: Timing;
  readonly products: readonly { readonly unit: string; readonly perSecond: number }[];
  readonly programs: readonly { readonly name: string; readonly runs: number; readonly dispatches: number }[];
  /** GPU buffers and bind groups created by a run after the first; 0 is what a recorded program promises. */
  readonly created: { readonly buffers: number; readonly bindGroups: number };
  /** Sum of its kernels' bounds. */
  readonly bound: number;
  /** Most time first. */
  readonly kernels: readonly KernelTimes[];
}

export interface Skipped {
  readonly what: string;
  readonly why: string;
}

/** Share of the roofline reached: above 1 for work that stays in caches, which are faster than the stream's memory. */
export function shareOfBound(figure: { bound: number; time: Timing }): number {
  return figure.bound / figure.time.best;
}
