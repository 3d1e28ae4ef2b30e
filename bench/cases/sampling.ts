import { guideLogits, packAllowedRanges, packSamplerState, sampleTokens } from '../../engine/ops/sampling.js';
import type { Workbench } from '../workbench.js';
import { largeSizes, type KernelCase, type LanguageSizes } from './types.js';

interface Draw {
  readonly name: string;
  readonly rows: number;
  readonly ids: number;
  readonly topK?: number;
  readonly topP?: number;
}

function guidedDraw(bench: Workbench, { rows, ids, topK, topP = 1 }: Draw): [] {
  const { graph } = bench;
  const settings = { seed: 1, temperature: 1, topP, guidance: 3, ...(topK !== undefined && { topK }) };
  const rowsOf = <T>(value: T): T[] => new Array<T>(rows).fill(value);
  const state = bench.given([rows, 8], 'u32', packSamplerState(rowsOf(settings)));
  const allowed = packAllowedRanges(rowsOf([[0, ids] as const]));
  sampleTokens(graph, {
    logits: guideLogits(graph, bench.values([2 * rows, ids]), state),
    ranges: bench.given([rows, allowed.steps, 2], 'u32', allowed.data),
    state,
    ids: bench.integers([rows, 64], 1),
    nextInputs: bench.integers([2 * rows], 1),
  });
  return [];
}

/** Guidance and drawing one token a row, as each step of a picture does. */
export function samplingCases(nano: LanguageSizes): KernelCase[] {
  const draws: Draw[] = [
    { name: 'nano', rows: 1, ids: nano.visionIds, topK: 64 },
    { name: 'nano', rows: 8, ids: nano.visionIds, topK: 64 },
    { name: largeSizes.name, rows: 1, ids: largeSizes.visionIds },
    { name: largeSizes.name, rows: 1, ids: largeSizes.visionIds, topK: 2048 },
    { name: largeSizes.name, rows: 1, ids: largeSizes.visionIds, topK: 2048, topP: 0.9 },
  ];
  return draws.map((draw) => {
    const filters = [draw.topK && `top-k ${draw.topK}`, draw.topP && `top-p ${draw.topP}`].filter(Boolean);
    return {
      op: 'guidance and sampling',
      sizes: [`${draw.name}, ${draw.rows} x ${draw.ids}`, ...filters].join(', '),
      build: (bench) => guidedDraw(bench, draw),
    };
  });
}
