import { describe, expect, test } from 'vitest';
import { adamwUpdate } from '../../kernels/adamw/index.js';
import { adamwReference, type AdamwReferenceBlock } from '../../kernels/adamw/reference.js';
import {
  adamwStep,
  initialOptimizerState,
  learningRateAt,
  optimizerStateIndex,
  optimizerStateLength,
  readOptimizerState,
  type LearningRateSchedule,
  type OptimizerReport,
} from '../../engine/train/optimizer.js';
import { Graph, Program } from '../../engine/graph/index.js';
import { GpuTensor } from '../../engine/tensor.js';
import { expectClose, pseudoRandom, runKernel, testDevice } from '../support/kernel.js';
import { readGolden, readGoldenJson } from '../support/golden.js';

const hyper = { beta1: 0.9, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 };
const names = ['parameters', 'gradients', 'firstMoment', 'secondMoment', 'decayMask'] as const;

type BlockData = Record<(typeof names)[number], Float32Array>;

/** An optimiser over blocks on the GPU, recorded once and replayed for every step. */
class OptimizerRun {
  private constructor(
    private readonly blocks: Record<(typeof names)[number], GpuTensor>[],
    private readonly state: GpuTensor,
    private readonly program: Program,
  ) {}

  static async create(
    blocks: readonly BlockData[],
    options: { schedule: LearningRateSchedule; maximumNorm?: number; accumulationScale?: number },
    software?: boolean,
  ): Promise<OptimizerRun> {
    const device = await testDevice();
    const own = (data: Float32Array, label: string): GpuTensor =>
      GpuTensor.from(device, [data.length], 'f32', data, label);
    const tensors = blocks.map((block) => ({
      parameters: own(block.parameters, 'parameters'),
      gradients: own(block.gradients, 'gradients'),
      firstMoment: own(block.firstMoment, 'first moment'),
      secondMoment: own(block.secondMoment, 'second moment'),
      decayMask: own(block.decayMask, 'decay mask'),
    }));
    const state = own(initialOptimizerState(options), 'optimiser state');
    const graph = new Graph({ ...device.traits, software: software ?? device.traits.software });
    const bound = tensors.map((block) => ({
      parameters: graph.bind(block.parameters),
      gradients: graph.bind(block.gradients),
      firstMoment: graph.bind(block.firstMoment),
      secondMoment: graph.bind(block.secondMoment),
      decayMask: graph.bind(block.decayMask),
    }));
    adamwStep(graph, bound, graph.bind(state), hyper);
    return new OptimizerRun(tensors, state, await Program.compile(device, graph, { label: 'optimiser' }));
  }

  async step(gradients?: readonly Float32Array[]): Promise<OptimizerReport> {
    gradients?.forEach((gradient, block) => this.blocks[block].gradients.write(gradient));
    this.program.run();
    return readOptimizerState(await this.state.readFloat32());
  }

  async read(block: number, name: (typeof names)[number]): Promise<Float32Array> {
    return this.blocks[block][name].readFloat32();
  }

  destroy(): void {
    this.program.destroy();
    this.state.destroy();
    for (const block of this.blocks) for (const name of names) block[name].destroy();
  }
}

function blockOf(length: number, seed: number): BlockData {
  return {
    parameters: pseudoRandom(length, seed),
    gradients: pseudoRandom(length, seed + 1),
    firstMoment: new Float32Array(length),
    secondMoment: new Float32Array(length),
    decayMask: Float32Array.from({ length: length / 64 }, (_, run) => (run % 3 === 1 ? 0 : 1)),
  };
}

function referenceOf(block: BlockData): AdamwReferenceBlock {
  return {
    parameters: Float64Array.from(block.parameters),
    gradients: Float64Array.from(block.gradients),
    firstMoment: Float64Array.from(block.firstMoment),
    secondMoment: Float64Array.from(block.secondMoment),
    decay: block.decayMask,
  };
}

describe('AdamW', () => {
  test.each([true, false])('follows the reference for six replayed steps (software tiles: %s)', async (software) => {
    const schedule: LearningRateSchedule = { kind: 'cosine', peak: 3e-3, final: 1e-4, warmupSteps: 2, totalSteps: 6 };
    const blocks = [blockOf(64, 1), blockOf(64 * 333, 5)];
    const expected = blocks.map(referenceOf);
    const run = await OptimizerRun.create(blocks, { schedule, maximumNorm: 20 }, software);
    for (let step = 1; step <= 6; step++) {
      // Norms on both sides of the limit: clipped in even steps only.
      const size = step % 2 === 0 ? 1 : 0.1;
      const gradients = blocks.map(({ gradients: g }, b) =>
        pseudoRandom(g.length, 100 * step + b).map((x) => x * size),
      );
      expected.forEach((block, b) => block.gradients.set(gradients[b]));
      const norm = adamwReference(expected, step, { schedule, maximumNorm: 20, ...hyper });
      expect(norm > 20).toBe(step % 2 === 0);
      const report = await run.step(gradients);
      expect(report).toMatchObject({ step, skipped: false, skippedSteps: 0 });
      expect(Math.abs(report.gradientNorm / norm - 1)).toBeLessThan(1e-5);
      expect(Math.abs(report.learningRate / learningRateAt(schedule, step) - 1)).toBeLessThan(1e-5);
      for (const [b, block] of expected.entries()) {
        const label = `step ${step} block ${b}`;
        expectClose(await run.read(b, 'parameters'), block.parameters, { absolute: 1e-6 }, `${label} parameters`);
        expectClose(
          await run.read(b, 'firstMoment'),
          block.firstMoment,
          { absolute: 1e-7, relative: 1e-4 },
          `${label} m`,
        );
        expectClose(
          await run.read(b, 'secondMoment'),
          block.secondMoment,
          { absolute: 1e-9, relative: 1e-4 },
          `${label} v`,
        );
        expect(
          (await run.read(b, 'gradients')).every((gradient) => gradient === 0),
          `${label} zeroed`,
        ).toBe(true);
      }
    }
    run.destroy();
  });

  test('a gradient that is not finite changes nothing but the count of skipped steps', async () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const block = blockOf(256, 9);
      const run = await OptimizerRun.create([block], { schedule: { kind: 'constant', peak: 1e-3 }, maximumNorm: 1 });
      await run.step();
      const before = await Promise.all(names.map((name) => run.read(0, name)));
      const poisoned = pseudoRandom(256, 3);
      poisoned[200] = bad;
      const skipped = await run.step([poisoned]);
      expect(skipped).toMatchObject({ step: 1, skipped: true, skippedSteps: 1 });
      expect(Number.isFinite(skipped.gradientNorm)).toBe(false);
      expect(await Promise.all(names.map((name) => run.read(0, name)))).toEqual(before);
      const healthy = await run.step([pseudoRandom(256, 4)]);
      expect(healthy).toMatchObject({ step: 2, skipped: false, skippedSteps: 1 });
      expect(await run.read(0, 'parameters')).not.toEqual(before[0]);
      run.destroy();
    }
  });

  test('accumulated gradients are averaged before clipping', async () => {
    const block = blockOf(128, 11);
    const expected = referenceOf(block);
    expected.gradients = expected.gradients.map((gradient) => gradient / 4);
    const schedule: LearningRateSchedule = { kind: 'constant', peak: 1e-2 };
    const run = await OptimizerRun.create([block], { schedule, maximumNorm: 1, accumulationScale: 1 / 4 });
    const norm = adamwReference([expected], 1, { schedule, maximumNorm: 1, ...hyper });
    const report = await run.step();
    expect(Math.abs(report.gradientNorm / norm - 1)).toBeLessThan(1e-5);
    expectClose(await run.read(0, 'parameters'), expected.parameters, { absolute: 1e-6 }, 'parameters');
    run.destroy();
  });

  test('two runs of the same steps give the same bytes', async () => {
    const results: Float32Array[] = [];
    for (let repeat = 0; repeat < 2; repeat++) {
      const run = await OptimizerRun.create([blockOf(64 * 50, 2)], { schedule: { kind: 'constant', peak: 1e-3 } });
      await run.step();
      await run.step([pseudoRandom(64 * 50, 8)]);
      results.push(await run.read(0, 'parameters'));
      run.destroy();
    }
    expect(results[0]).toEqual(results[1]);
  });

  test.each([
    { kind: 'constant', peak: 1e-3 },
    { kind: 'constant', peak: 1e-3, warmupSteps: 4 },
    { kind: 'linear', peak: 1e-3, final: 0, totalSteps: 9 },
    { kind: 'cosine', peak: 1e-5, final: 1e-6, warmupSteps: 3, totalSteps: 10 },
    { kind: 'cosine', peak: 1e-3, warmupSteps: 2, holdSteps: 1, totalSteps: 4 },
    { kind: 'linear', peak: 1e-3, warmupSteps: 2, holdSteps: 5, totalSteps: 11 },
    { kind: 'linear', peak: 1e-3, holdSteps: 9, totalSteps: 10 },
  ] satisfies LearningRateSchedule[])('keeps to the schedule %j', async (schedule) => {
    const run = await OptimizerRun.create([blockOf(64, 1)], { schedule });
    for (let step = 1; step <= 12; step++) {
      const { learningRate } = await run.step();
      expect(Math.abs(learningRate - learningRateAt(schedule, step))).toBeLessThan(1e-6 * schedule.peak);
    }
    run.destroy();
  });

  test('a line at the end of a stage starts from the peak and reaches 0', () => {
    const schedule: LearningRateSchedule = { kind: 'linear', peak: 8, warmupSteps: 2, holdSteps: 3, totalSteps: 9 };
    const rates = Array.from({ length: 10 }, (_, index) => learningRateAt(schedule, index + 1));
    expect(rates).toEqual([4, 8, 8, 8, 8, 6, 4, 2, 0, 0]);
  });

  test('the first recorded PyTorch step: norm, and three tensors after it', async () => {
    const losses = readGoldenJson('train/losses.json') as {
      adamw: { lr: number; clip_max_norm: number; grad_norm_before_clip: number[] };
    };
    const weights = readGolden('train/model.safetensors');
    const gradients = readGolden('train/grads.safetensors');
    const after = readGolden('train/adamw_step1.safetensors');
    const order = Object.keys(gradients);
    const blocks = order.map((name): BlockData => {
      const { shape, data } = weights[name];
      const padded = Math.ceil(data.length / 64) * 64;
      const pad = (values: readonly number[]): Float32Array => {
        const out = new Float32Array(padded);
        out.set(values);
        return out;
      };
      return {
        parameters: pad(data),
        gradients: pad(gradients[name].data),
        firstMoment: new Float32Array(padded),
        secondMoment: new Float32Array(padded),
        decayMask: new Float32Array(padded / 64).fill(shape.length >= 2 ? 1 : 0),
      };
    });
    const { lr, clip_max_norm: maximumNorm } = losses.adamw;
    const run = await OptimizerRun.create(blocks, { schedule: { kind: 'constant', peak: lr }, maximumNorm });
    const report = await run.step();
    expect(Math.abs(report.gradientNorm - losses.adamw.grad_norm_before_clip[0])).toBeLessThan(1e-5);
    const recorded = Object.keys(after);
    expect(recorded.length).toBeGreaterThan(0);
    for (const name of recorded) {
      const result = await run.read(order.indexOf(name), 'parameters');
      expectClose(result.subarray(0, after[name].data.length), after[name].data, { absolute: 5e-6 }, name);
    }
    run.destroy();
  });

  test('refuses shapes and numbers that make no sense', async () => {
    const call = (length: number, mask: number, weightDecay: number): Promise<unknown> => {
      const tensor = { shape: [length] };
      return runKernel({
        inputs: {
          decayMask: { shape: [mask], data: new Float32Array(mask) },
          state: { shape: [optimizerStateLength], data: new Float32Array(optimizerStateLength) },
        },
        outputs: { parameters: tensor, gradients: tensor, firstMoment: tensor, secondMoment: tensor },
        calls: ({ state, ...block }, traits) => adamwUpdate(traits, block, state, { weightDecay }),
      });
    };
    await expect(call(65, 1, 0)).rejects.toThrow(/not a multiple of 64/);
    await expect(call(128, 1, 0)).rejects.toThrow(/decayMask must hold 2/);
    await expect(call(128, 2, NaN)).rejects.toThrow(/weightDecay is NaN/);
    expect(() => initialOptimizerState({ schedule: { kind: 'constant', peak: NaN } })).toThrow(/peak learning rate/);
    expect(() =>
      initialOptimizerState({ schedule: { kind: 'cosine', peak: 1, warmupSteps: 5, totalSteps: 5 } }),
    ).toThrow(/does not outlast its warm-up/);
    const held: LearningRateSchedule = { kind: 'linear', peak: 1, warmupSteps: 2, holdSteps: 3, totalSteps: 5 };
    expect(() => initialOptimizerState({ schedule: held })).toThrow(/warm-up of 2 and 3 steps at the peak/);
    expect(() => initialOptimizerState({ schedule: { ...held, holdSteps: 0.5 } })).toThrow(/0.5 steps at the peak/);
    expect(() => initialOptimizerState({ schedule: { kind: 'constant', peak: 1 }, maximumNorm: 0 })).toThrow(
      /largest norm/,
    );
    expect(Math.max(...Object.values(optimizerStateIndex))).toBeLessThan(optimizerStateLength);
  });
});
