import { describe, expect, test } from 'vitest';
import { crossEntropyBackward, crossEntropyForward, targetWeights } from '../../kernels/cross-entropy/index.js';
import {
  crossEntropyBackwardReference,
  crossEntropyReference,
  targetWeightsReference,
} from '../../kernels/cross-entropy/reference.js';
import { tokenCrossEntropy } from '../../engine/ops/cross-entropy.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, runKernel } from '../support/kernel.js';
import { roundToDtype } from '../support/kernel.js';

function logitsOf(rows: number, vocabulary: number, seed: number): Float32Array {
  return pseudoRandom(rows * vocabulary, seed).map((value, i) => value * 6 + (i % vocabulary) * 0.001);
}

/** Every fourth row ignored, the others spread over the vocabulary with both ends among them. */
function targetsOf(rows: number, vocabulary: number): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => {
    if (row % 4 === 3) return row % 8 === 3 ? -100 : -1;
    return row % 4 === 0 ? vocabulary - 1 : (row * 37) % vocabulary;
  });
}

const shapes: [number, number][] = [
  [1, 1],
  [3, 7],
  [5, 33],
  [9, 257],
  [4, 877],
  [2, 4099],
];

describe('token cross-entropy', () => {
  test.each([true, false])('matches the reference forward and backward (software tiles: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      for (const [rows, vocabulary] of shapes) {
        const label = `${dtype} [${rows}, ${vocabulary}]`;
        const logits = roundToDtype(logitsOf(rows, vocabulary, rows), dtype);
        const targets = targetsOf(rows, vocabulary);
        const rowGradient = pseudoRandom(rows, 5);
        const expected = crossEntropyReference(logits, targets, vocabulary);
        const result = await runKernel({
          inputs: {
            logits: { shape: [rows, vocabulary], data: logits, dtype },
            targets: { shape: [rows], data: targets, dtype: 'i32' },
            rowGradient: { shape: [rows], data: rowGradient },
          },
          outputs: {
            loss: { shape: [rows] },
            logSumExp: { shape: [rows] },
            logitsGradient: { shape: [rows, vocabulary] },
          },
          calls: (t, traits) => [
            crossEntropyForward({ ...traits, software }, t),
            crossEntropyBackward({ ...traits, software }, t),
          ],
        });
        expectClose(result.loss, expected.loss, { absolute: 1e-5, relative: 1e-5 }, `loss ${label}`);
        expectClose(result.logSumExp, expected.logSumExp, { absolute: 1e-5, relative: 1e-5 }, `log-sum-exp ${label}`);
        expectClose(
          result.logitsGradient,
          crossEntropyBackwardReference(logits, targets, rowGradient, vocabulary),
          { absolute: 2e-6, relative: 1e-5 },
          `gradient ${label}`,
        );
      }
    }
  });

  test('takes the vocabulary of the released model', async () => {
    const [rows, vocabulary] = [2, 184_622];
    const logits = logitsOf(rows, vocabulary, 3);
    const targets = Int32Array.of(vocabulary - 1, 151_854);
    const result = await runKernel({
      inputs: {
        logits: { shape: [rows, vocabulary], data: logits },
        targets: { shape: [rows], data: targets, dtype: 'i32' },
      },
      outputs: { loss: { shape: [rows] }, logSumExp: { shape: [rows] } },
      calls: (t, traits) => crossEntropyForward(traits, t),
    });
    expectClose(result.loss, crossEntropyReference(logits, targets, vocabulary).loss, { relative: 1e-5 }, 'loss');
  });

  test('stays finite for large logits, and says loudly that a target is beyond the vocabulary', async () => {
    const logits = Float32Array.of(20000, -20000, 19999, 1, 2, 3);
    const result = await runKernel({
      inputs: {
        logits: { shape: [2, 3], data: logits },
        targets: { shape: [2], data: Int32Array.of(1, 3), dtype: 'i32' },
      },
      outputs: { loss: { shape: [2] }, logSumExp: { shape: [2] } },
      calls: (t, traits) => crossEntropyForward(traits, t),
    });
    expect(result.loss[0]).toBeCloseTo(40000.3133, 1);
    expect(result.loss[1]).toBeGreaterThan(1e29);
  });

  test('the gradient of the graph op is the derivative of the reference', async () => {
    const [rows, vocabulary] = [5, 19];
    const targets = targetsOf(rows, vocabulary);
    await checkGradients({
      inputs: { logits: { shape: [rows, vocabulary], data: logitsOf(rows, vocabulary, 8) } },
      constants: { targets: { shape: [rows], data: targets, dtype: 'i32' } },
      build: (graph, { logits }, constants) => tokenCrossEntropy(graph, logits, constants['targets']).loss,
      reference: ({ logits }) => crossEntropyReference(logits, targets, vocabulary).loss,
      tolerance: { absolute: 1e-5, relative: 1e-4 },
    });
  });

  test('weighs vision targets, text targets and ignored ones', async () => {
    const targets = Int32Array.of(0, 9, 10, 11, 20, 21, -1, -100, 1000);
    const weighting = { visionRange: [10, 20], vision: 0.5, text: 1 } as const;
    const { weights } = await runKernel({
      inputs: { targets: { shape: [9], data: targets, dtype: 'i32' } },
      outputs: { weights: { shape: [9] } },
      calls: (t, traits) => targetWeights(traits, t, weighting),
    });
    expect([...weights]).toEqual([...targetWeightsReference(targets, weighting)]);
    expect([...weights]).toEqual([1, 1, 0.5, 0.5, 0.5, 1, 0, 0, 1]);
  });

  test('refuses shapes that do not fit', async () => {
    const run = (logitsShape: number[], targetRows: number): Promise<unknown> =>
      runKernel({
        inputs: {
          logits: { shape: logitsShape, data: pseudoRandom(12, 1) },
          targets: { shape: [targetRows], data: new Int32Array(targetRows), dtype: 'i32' },
        },
        outputs: { loss: { shape: [3] }, logSumExp: { shape: [3] } },
        calls: (t, traits) => crossEntropyForward(traits, t),
      });
    await expect(run([12], 3)).rejects.toThrow(/logits must be \[rows, vocabulary\]/);
    await expect(run([3, 4], 4)).rejects.toThrow(/targets must hold one value for each of 3 rows/);
    await expect(run([4, 3], 4)).rejects.toThrow(/loss must hold/);
  });
});
