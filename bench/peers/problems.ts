import { elementCount } from '../../kernels/core/types.js';
import { uniformNumbers } from '../workbench.js';
import type { Decoding, TrainingStep, TransformerSizes } from './transformer.js';

/** What every engine is asked to compute, all in f32 but for packed weights. */
export type Problem = Operation | TrainingStep | Decoding;

/** One operation. */
export type Operation =
  /** a [m, k] times b [k, n]. */
  | { readonly kind: 'matmul'; readonly m: number; readonly k: number; readonly n: number }
  /** x [1, k] times the transpose of weight [n, k]. */
  | { readonly kind: 'matvec'; readonly k: number; readonly n: number }
  /** The same with a weight of 4 bits in groups of 32 along k. */
  | { readonly kind: 'packed matvec'; readonly k: number; readonly n: number }
  /** Causal attention of one sequence: query, key and value [length, heads * dimension]. */
  | { readonly kind: 'attention'; readonly length: number; readonly heads: number; readonly dimension: number }
  /** A picture x [side, side, channels] with a 3 x 3 kernel [channels, channels, 3, 3], zeros around. */
  | { readonly kind: 'convolution'; readonly side: number; readonly channels: number };

/** Sizes of a problem in words. */
export function describeProblem(problem: Problem): string {
  switch (problem.kind) {
    case 'matmul':
      return `matmul ${problem.m} x ${problem.k} x ${problem.n}, f32`;
    case 'matvec':
      return `matvec ${problem.k} -> ${problem.n}, f32`;
    case 'packed matvec':
      return `matvec ${problem.k} -> ${problem.n}, q4`;
    case 'attention':
      return `causal attention, ${problem.length} tokens, ${problem.heads} heads of ${problem.dimension}, f32`;
    case 'convolution':
      return `conv2d 3 x 3, ${problem.side} x ${problem.side}, ${problem.channels} channels, f32`;
    case 'training step':
      return `training step, ${describeSizes(problem.sizes)}, ${problem.batch} x ${problem.length} tokens, f32`;
    case 'decode':
      return `decode ${problem.tokens} tokens, ${describeSizes(problem.sizes)}, f32`;
  }
}

function describeSizes({ layers, hidden }: TransformerSizes): string {
  return `${layers} layers of ${hidden}`;
}

/** Tokens that are learned from or written, where a problem has any. */
export function tokensOf(problem: Problem): number | undefined {
  switch (problem.kind) {
    case 'training step':
      return problem.batch * problem.length;
    case 'decode':
      return problem.tokens;
    default:
      return undefined;
  }
}

/** Numbers of an engine's inputs, the same for all: uniform in -1..1, scaled so that results are of the order of 1. */
export function inputValues(shape: readonly number[], seed: number, scale = 1): Float32Array<ArrayBuffer> {
  const numbers = uniformNumbers(seed);
  return Float32Array.from({ length: elementCount(shape) }, () => scale * (2 * numbers.next().value - 1));
}

/** A weight [n, k] of 4 bits: eight levels plus 8 a word, lowest bits first, and a scale for every 32. */
export interface PackedInput {
  /** [n, k / 8]. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** [n, k / 32], values that f16 holds exactly. */
  readonly scales: Float32Array<ArrayBuffer>;
}

export function packedInput(k: number, n: number): PackedInput {
  const numbers = uniformNumbers(77);
  const words = Uint32Array.from({ length: (n * k) / 8 }, () => numbers.next().value * 2 ** 32);
  const scales = Float32Array.from({ length: (n * k) / 32 }, (_, index) => 2 ** -(8 + (index % 3)));
  return { words, scales };
}

/** For results that have the layout of their problem. */
export function asItIs(values: Float32Array): Float32Array {
  return values;
}

/** [.., rows, columns, inner] with the two axes in turn: [.., columns, rows, inner]. */
export function swapAxes(values: Float32Array, rows: number, columns: number, inner = 1): Float32Array<ArrayBuffer> {
  const out = new Float32Array(values.length);
  const block = rows * columns * inner;
  for (let start = 0; start < values.length; start += block) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const from = start + (row * columns + column) * inner;
        out.set(values.subarray(from, from + inner), start + (column * rows + row) * inner);
      }
    }
  }
  return out;
}

/** What is compared; software adapters offer WebGPU's least bindings, which hold half of an MLP's f32 weight. */
export function problemsFor(software: boolean): Problem[] {
  const squares = [512, 1024, 2048].map((size) => ({ kind: 'matmul', m: size, k: size, n: size }) as const);
  const wide = software ? 7168 : 14336;
  const sizes: TransformerSizes = { layers: 4, hidden: 256, intermediate: 768, heads: 4, vocabulary: 1024 };
  return [
    ...squares,
    { kind: 'matvec', k: 4096, n: 4096 },
    { kind: 'matvec', k: 4096, n: wide },
    { kind: 'packed matvec', k: 4096, n: 4096 },
    { kind: 'packed matvec', k: 4096, n: 14336 },
    { kind: 'attention', length: 512, heads: 8, dimension: 64 },
    { kind: 'attention', length: 1024, heads: 8, dimension: 64 },
    { kind: 'convolution', side: 64, channels: 64 },
    { kind: 'convolution', side: 32, channels: 128 },
    { kind: 'training step', sizes, batch: 2, length: 256 },
    { kind: 'decode', sizes, tokens: 64 },
  ];
}
