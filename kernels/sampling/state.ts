import { Emu3Error } from '../core/index.js';

/** Numbers a row's state holds: u32, the fractions as the bits of an f32. */
export const samplerStateLength = 8;

/** Where each number lies in a row's state. */
export const samplerStateIndex = {
  /** Key of the noise. */
  seed: 0,
  /** Place of the token in its sequence: counter of the noise; goes up by 1 with every token. */
  position: 1,
  /** Tokens sampled so far: index into the allowed ranges and the ids; goes up by 1 with every token. */
  step: 2,
  /** 0 = no limit. */
  topK: 3,
  temperature: 4,
  topP: 5,
  guidance: 6,
} as const;

export interface SamplerOptions {
  /** 0 .. 2^32 - 1. Rows with the same seed, position and logits draw the same token. */
  seed: number;
  /** Place of the first token to be sampled in its sequence. Default 0. */
  position?: number;
  /** Above 0 divides the logits; 0 takes the largest, the lowest id on ties. Default 1. */
  temperature?: number;
  /** Keep only so many of the largest logits, lower ids first on ties; 1 or more. Default: all. */
  topK?: number;
  /** Keep the fewest most probable candidates that together reach this probability, within 0 (exclusive) .. 1. Default 1. */
  topP?: number;
  /** Weight of the conditional over the unconditional prediction; 1 is no guidance. 0 or more. Default 1. */
  guidance?: number;
}

function refuse(where: string, value: number, what: string): Emu3Error {
  return new Emu3Error(`${where} is ${value}.`, { code: 'argument', where, fix: `Give ${what}.` });
}

function requireWhole(where: string, value: number, lowest: number): void {
  if (!(Number.isInteger(value) && value >= lowest && value <= 0xffffffff)) {
    throw refuse(where, value, `a whole number from ${lowest} to 4294967295`);
  }
}

/**
 * The sampler's state before the first token, [rows, {@link samplerStateLength}] u32.
 *
 * @throws Emu3Error `argument` for a seed, position, temperature, top-k, top-p or guidance outside its range or NaN.
 */
export function packSamplerState(rows: readonly SamplerOptions[]): Uint32Array {
  const state = new Uint32Array(rows.length * samplerStateLength);
  const fractions = new Float32Array(state.buffer);
  rows.forEach((row, index) => {
    const { seed, position = 0, temperature = 1, topK, topP = 1, guidance = 1 } = row;
    requireWhole('seed', seed, 0);
    requireWhole('position', position, 0);
    if (topK !== undefined) requireWhole('top-k', topK, 1);
    // The smallest temperatures would lose their digits as an f32.
    if (!(temperature === 0 || (temperature >= 1e-6 && temperature <= 1e6))) {
      throw refuse('temperature', temperature, '0 for the most probable token, or a number from 1e-6 to 1e6');
    }
    if (!(topP > 0 && topP <= 1)) throw refuse('top-p', topP, 'a probability above 0 and at most 1');
    if (!(guidance >= 0 && guidance <= 1e6)) throw refuse('guidance', guidance, 'a number from 0 to 1e6');
    const base = index * samplerStateLength;
    state[base + samplerStateIndex.seed] = seed;
    state[base + samplerStateIndex.position] = position;
    state[base + samplerStateIndex.topK] = topK ?? 0;
    fractions[base + samplerStateIndex.temperature] = temperature;
    fractions[base + samplerStateIndex.topP] = topP;
    fractions[base + samplerStateIndex.guidance] = guidance;
  });
  return state;
}

/** The ids a row may take at a step: `first` up to, but without, `end`. A range of one id is a forced token. */
export type AllowedRange = readonly [first: number, end: number];

/**
 * The grammar of all rows, [rows, steps, 2] u32: the allowed range of each step. Shorter rows repeat their last range, as
 * the sampler does with steps beyond the table.
 *
 * @throws Emu3Error `argument` for a row without ranges, or a range that is empty or no pair of ids.
 */
export function packAllowedRanges(rows: readonly (readonly AllowedRange[])[]): { data: Uint32Array; steps: number } {
  const steps = Math.max(0, ...rows.map((ranges) => ranges.length));
  const data = new Uint32Array(rows.length * steps * 2);
  rows.forEach((ranges, row) => {
    if (ranges.length === 0) throw refuse(`grammar of row ${row}`, 0, 'at least one allowed range');
    for (let step = 0; step < steps; step++) {
      const [first, end] = ranges[Math.min(step, ranges.length - 1)];
      requireWhole(`first allowed id of row ${row}, step ${step}`, first, 0);
      requireWhole(`end of the allowed ids of row ${row}, step ${step}`, end, first + 1);
      data.set([first, end], (row * steps + step) * 2);
    }
  });
  return { data, steps };
}
