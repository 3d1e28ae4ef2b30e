import type { Problem } from './problems.js';

/** A problem prepared by an engine: inputs on the GPU, kernels compiled. */
export interface Job {
  /** Computes so many times and waits for the GPU. */
  run(times: number): Promise<void>;
  /** The result, in the layout of {@link Problem}. */
  result(): Promise<Float32Array>;
  destroy(): void;
}

/** An engine that is measured. */
export interface Contender {
  readonly name: string;
  /** Undefined where the engine has no such operation on WebGPU. */
  readonly prepare: (problem: Problem) => Promise<Job | undefined>;
}
