import { describe, expect, it } from 'vitest';
import { comparePeers } from '../../bench/peers/compare.js';
import type { Contender } from '../../bench/peers/contender.js';
import { ours } from '../../bench/peers/ours.js';
import {
  describeProblem,
  inputValues,
  packedInput,
  problemsFor,
  swapAxes,
  type Operation,
  type Problem,
} from '../../bench/peers/problems.js';
import { peersMarkdown } from '../../bench/peers/report.js';
import {
  comparedSteps,
  firstToken,
  initialWeights,
  joinedColumns,
  rotaryTables,
  trainingTokens,
  transformerConfig,
  transposedWeights,
} from '../../bench/peers/transformer.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { matmulReference } from '../../kernels/matmul/reference.js';
import { transformerReference, type Weights } from '../models/reference.js';
import { expectClose } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';

/** What a problem's result is, in f64. */
function reference(problem: Operation): Float64Array {
  const input = (shape: readonly number[], seed: number, scale = 1): Float64Array =>
    Float64Array.from(inputValues(shape, seed, scale));
  switch (problem.kind) {
    case 'matmul': {
      const { m, k, n } = problem;
      return matmulReference(input([m, k], 1), input([k, n], 2, 1 / Math.sqrt(k)), { m, n, depth: k });
    }
    case 'matvec': {
      const { k, n } = problem;
      const weight = input([n, k], 2, 1 / Math.sqrt(k));
      return matmulReference(input([1, k], 1), weight, { m: 1, n, depth: k, transposeB: true });
    }
    case 'packed matvec': {
      const { k, n } = problem;
      const { words, scales } = packedInput(k, n);
      const weight = Float64Array.from({ length: n * k }, (_, at) => {
        const level = ((words[Math.floor(at / 8)] >>> (4 * (at % 8))) & 15) - 8;
        return level * scales[Math.floor(at / 32)];
      });
      return matmulReference(input([1, k], 1), weight, { m: 1, n, depth: k, transposeB: true });
    }
    case 'attention': {
      const { length, heads, dimension } = problem;
      const [q, k, v] = [1, 2, 3].map((seed) => input([length, heads * dimension], seed));
      const shape = { batch: 1, length, heads, keyValueHeads: heads, headDimension: dimension };
      return attentionReference(q, k, v, new Array<number>(length).fill(0), shape);
    }
    case 'convolution': {
      const { side, channels } = problem;
      const x = input([side, side, channels], 1);
      const w = input([channels, channels, 3, 3], 2, 1 / Math.sqrt(9 * channels));
      return Float64Array.from({ length: side * side * channels }, (_, at) => {
        const [row, column, out] = [Math.floor(at / channels / side), Math.floor(at / channels) % side, at % channels];
        let sum = 0;
        for (let tap = 0; tap < 9; tap++) {
          const [y, z] = [row + Math.floor(tap / 3) - 1, column + (tap % 3) - 1];
          if (y < 0 || y >= side || z < 0 || z >= side) continue;
          for (let c = 0; c < channels; c++)
            sum += x[(y * side + z) * channels + c] * w[(out * channels + c) * 9 + tap];
        }
        return sum;
      });
    }
  }
}

const small: Operation[] = [
  { kind: 'matmul', m: 5, k: 24, n: 9 },
  { kind: 'matvec', k: 40, n: 17 },
  { kind: 'packed matvec', k: 64, n: 9 },
  { kind: 'attention', length: 13, heads: 2, dimension: 8 },
  { kind: 'convolution', side: 6, channels: 5 },
];

describe('problems for several engines', () => {
  it.each(small.map((problem) => [describeProblem(problem), problem] as const))(
    '%s: this engine is right',
    async (_, problem) => {
      const job = await ours(await testDevice()).prepare(problem);
      expect(job).toBeDefined();
      await job?.run(2);
      expectClose((await job?.result()) ?? new Float32Array(), reference(problem), { absolute: 1e-5 }, problem.kind);
      job?.destroy();
    },
  );

  it('stay within the bindings of software adapters there', () => {
    const largest = (software: boolean): number =>
      Math.max(...problemsFor(software).map((problem) => (problem.kind === 'matvec' ? 4 * problem.k * problem.n : 0)));
    expect(largest(true)).toBeLessThanOrEqual(2 ** 27);
    expect(largest(false)).toBeGreaterThan(2 ** 27);
  });

  it('turn axes', () => {
    expect([...swapAxes(Float32Array.of(0, 1, 2, 3, 4, 5), 2, 3)]).toEqual([0, 3, 1, 4, 2, 5]);
    expect([
      ...swapAxes(
        Float32Array.from({ length: 8 }, (_, at) => at),
        2,
        2,
        2,
      ),
    ]).toEqual([0, 1, 4, 5, 2, 3, 6, 7]);
  });
});

describe('a transformer for several engines', () => {
  const sizes = { layers: 2, hidden: 16, intermediate: 24, heads: 2, vocabulary: 40 };
  const weights: Weights = Object.fromEntries(
    [...initialWeights(sizes)].map(([name, { values }]) => [name, Float64Array.from(values)]),
  );
  const logits = (ids: ArrayLike<number>, batch = 1): Float64Array =>
    transformerReference(transformerConfig(sizes), weights, {
      batch,
      length: ids.length / batch,
      ids,
      leftPadding: new Array<number>(batch).fill(0),
    });

  it('learns from the initial weights on each time', async () => {
    const problem = { kind: 'training step', sizes, batch: 2, length: 12 } as const;
    const job = await ours(await testDevice()).prepare(problem);
    const losses = await job?.result();
    await job?.run(2);
    expect(await job?.result()).toEqual(losses);
    job?.destroy();

    const { ids, targets } = trainingTokens(problem);
    const scores = logits(ids, 2);
    const first = targets.reduce((sum, target, row) => {
      const line = scores.subarray(row * sizes.vocabulary, (row + 1) * sizes.vocabulary);
      return sum + Math.log(line.reduce((total, score) => total + Math.exp(score), 0)) - line[target];
    }, 0);
    const [loss, ...later] = losses ?? [];
    expect(loss).toBeCloseTo(first / targets.length, 5);
    expect(later).toHaveLength(comparedSteps - 1);
    expect(later.every((value, step) => value < [loss, ...later][step])).toBe(true);
  });

  it('writes the most probable tokens', async () => {
    const job = await ours(await testDevice()).prepare({ kind: 'decode', sizes, tokens: 9 });
    await job?.run(1);
    const ids = [firstToken];
    while (ids.length < 10) {
      const last = logits(ids).slice(-sizes.vocabulary);
      ids.push(last.indexOf(Math.max(...last)));
    }
    expect([...((await job?.result()) ?? [])]).toEqual(ids.slice(1));
    job?.destroy();
  });

  it('is handed out in the layouts of other engines', () => {
    const turned = transposedWeights(sizes);
    const name = 'model.layers.1.mlp.gate_proj.weight';
    const [plain, gate] = [initialWeights(sizes).get(name), turned.get(name)];
    expect(gate?.shape).toEqual([16, 24]);
    expect(gate?.values[3 * 24 + 5]).toBe(plain?.values[5 * 16 + 3]);
    const embeddings = 'model.embed_tokens.weight';
    expect(turned.get(embeddings)).toEqual(initialWeights(sizes).get(embeddings));
    const joined = joinedColumns([
      { shape: [2, 1], values: Float32Array.of(1, 2) },
      { shape: [2, 2], values: Float32Array.of(3, 4, 5, 6) },
    ]);
    expect(joined).toEqual({ shape: [2, 3], values: Float32Array.of(1, 3, 4, 2, 5, 6) });
    const { cos, sin } = rotaryTables(sizes, 3);
    expect(cos.shape).toEqual([3, 4]);
    expect(cos.values[4]).toBeCloseTo(Math.cos(1), 6);
    expect(sin.values[9]).toBeCloseTo(Math.sin(2 * 10000 ** -0.25), 6);
  });
});

const header = {
  date: '2026-11-22T00:00:00Z',
  commit: 'abc',
  adapter: 'an adapter',
  kind: 'lavapipe' as const,
  driver: '',
  features: '',
  node: 'v20',
  processor: 'a processor',
  cores: 2,
  loadAtStart: 0,
  rounds: 2,
};

describe('a comparison', () => {
  const contender = (name: string, result: number[] | undefined, log: string[]): Contender => ({
    name,
    prepare: async () =>
      result && {
        run: async (times) => void log.push(`${name} ${times}`),
        result: async () => Float32Array.from(result),
        destroy: () => log.push(`${name} ends`),
      },
  });

  it('measures engines in turn, and names those that fail, differ or offer nothing', async () => {
    const log: string[] = [];
    const broken: Contender = { name: 'broken', prepare: () => Promise.reject(new Error('no shader')) };
    const contenders = [
      contender('first', [1, 2], log),
      contender('close', [1, 2.02], log),
      contender('wrong', [2, 1], log),
      contender('short', [1], log),
      contender('none', undefined, log),
      broken,
    ];
    const [figure, ...others] = await comparePeers(contenders, small, { rounds: 2, seconds: 1e-9, only: 'matmul' });
    expect(others).toEqual([]);
    const { outcomes } = figure;
    expect(outcomes['first']).toMatchObject({ kind: 'measured', error: 0 });
    expect(outcomes['close']).toMatchObject({ kind: 'measured' });
    expect(outcomes['wrong']).toMatchObject({ kind: 'failed' });
    expect(outcomes['short']).toMatchObject({ kind: 'failed', reason: 'its result is Infinity off' });
    expect(outcomes['none']).toEqual({ kind: 'not offered' });
    expect(outcomes['broken']).toEqual({ kind: 'failed', reason: 'no shader' });
    expect(log.filter((line) => !line.endsWith('ends')).slice(-4)).toEqual([
      'first 1',
      'close 1',
      'first 1',
      'close 1',
    ]);

    const text = peersMarkdown({ header, figures: [figure] });
    expect(text).toMatch(/matmul 5 x 24 x 9, f32 \|.*\(\d+\.\d\d x\) \| +failed \| +failed \| +- \| +failed \|/);
    expect(text).toContain('- close, matmul 5 x 24 x 9, f32: 0.894 % off');
    expect(text).toContain('- broken, matmul 5 x 24 x 9, f32: no shader');
    expect(text).not.toContain('Tokens a second');
  });

  it('counts tokens, which must be the same', async () => {
    const sizes = { layers: 2, hidden: 16, intermediate: 24, heads: 2, vocabulary: 40 };
    const contenders = [
      contender('first', [5, 7], []),
      contender('same', [5, 7], []),
      contender('other', [5, 6.9], []),
    ];
    const problem: Problem = { kind: 'decode', sizes, tokens: 2 };
    const [{ tokens, outcomes }] = await comparePeers(contenders, [problem], { rounds: 1, seconds: 1e-9 });
    expect(tokens).toBe(2);
    expect(outcomes['same']).toMatchObject({ kind: 'measured', error: 0 });
    expect(outcomes['other']).toMatchObject({ kind: 'failed' });
    const time = { best: 0.5, median: 0.5 };
    const measured = { kind: 'measured', time, error: 0 } as const;
    const figures = [{ problem: 'decode', tokens: 64, outcomes: { first: measured, other: outcomes['other'] } }];
    expect(peersMarkdown({ header, figures })).toContain('## Tokens a second\n\n- decode: first 128\n');
  });
});
