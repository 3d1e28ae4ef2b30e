import type { HostTensor, TrainingCheckpoint } from '../../loader/checkpoint.js';

/** A made-up run at `step`: every number in it follows from the step, so a mixture of two steps is noticed. */
export function checkpointAt(step: number, size = 100): TrainingCheckpoint {
  const tensor = (offset: number, shape: number[]): HostTensor => ({
    shape,
    data: Float32Array.from(
      { length: shape.reduce((a, b) => a * b, 1) },
      (_, index) => step + offset + (index % 7) / 8,
    ),
  });
  return {
    weights: new Map([
      ['model.embed_tokens.weight', tensor(0.1, [size, 3])],
      ['model.norm.weight', tensor(0.2, [3])],
      ['running_mean', tensor(0.3, [4])],
    ]),
    firstMoments: new Map([
      ['model.embed_tokens.weight', tensor(0.4, [size, 3])],
      ['model.norm.weight', tensor(0.5, [3])],
    ]),
    secondMoments: new Map([
      ['model.embed_tokens.weight', tensor(0.6, [size, 3])],
      ['model.norm.weight', tensor(0.7, [3])],
    ]),
    trainer: {
      step,
      dataPosition: { epoch: 1, index: step * 8 },
      randomState: { dropout: [1, step], order: [2, 0] },
      config: { learningRate: 1e-3, betas: [0.9, 0.95], resumeFrom: null },
    },
  };
}

/** Equality of every bit; much faster than comparing element by element. */
export function sameCheckpoint(a: TrainingCheckpoint, b: TrainingCheckpoint): boolean {
  const parts = (checkpoint: TrainingCheckpoint): [string, string, Buffer][] =>
    (['weights', 'firstMoments', 'secondMoments'] as const).flatMap((part) =>
      [...checkpoint[part]]
        .sort(([first], [second]) => (first < second ? -1 : 1))
        .map(([name, { shape, data }]): [string, string, Buffer] => [
          `${part}.${name}`,
          shape.join(),
          Buffer.from(data.buffer, data.byteOffset, data.byteLength),
        ]),
    );
  const [left, right] = [parts(a), parts(b)];
  return (
    JSON.stringify(a.trainer) === JSON.stringify(b.trainer) &&
    left.length === right.length &&
    left.every(([name, shape, bytes], index) => {
      const [otherName, otherShape, otherBytes] = right[index] ?? ['', '', Buffer.alloc(0)];
      return name === otherName && shape === otherShape && bytes.equals(otherBytes);
    })
  );
}
