import { Emu3Error } from '../core/errors.js';
import { shapeError } from '../core/define.js';
import { divideRoundUp, type Operand } from '../core/types.js';

/** How a weight is packed: 4-bit levels -8..7 or 8-bit levels -128..127, times a scale of each group of 32 inputs. */
export type QuantizationFormat = 'q4' | 'q8';

/** Consecutive inputs of one output that share a scale. */
export const quantizationGroup = 32;

export const bitsPerLevel: Readonly<Record<QuantizationFormat, 4 | 8>> = { q4: 4, q8: 8 };

/** Shapes of the two u32 arrays that hold a weight [N, K]. */
export interface QuantizedShapes {
  /**
   * [N, K * bits / 32]. q4: level k of a row is nibble k % 8 of word k / 8, stored plus 8. q8: byte k % 4 of word k / 4,
   * two's complement.
   */
  readonly data: readonly [number, number];
  /** [N, ceil(K / 64)]. f16 scale of group g of a row: half g % 2 of word g / 2; a half without a group is 0. */
  readonly scales: readonly [number, number];
}

/**
 * Sizes of a weight's packed arrays.
 *
 * @param shape [N outputs, K inputs].
 * @throws Emu3Error `shape` unless the weight is a matrix and K a multiple of 32.
 */
export function quantizedShapes(
  format: QuantizationFormat,
  shape: readonly number[],
  where = 'quantization',
): QuantizedShapes {
  const [outputs, inputs] = shape;
  if (shape.length !== 2 || !outputs || !inputs) {
    throw new Emu3Error(`A weight of shape [${shape.join(', ')}] cannot be quantized.`, {
      code: 'shape',
      where,
      fix: 'Give a matrix [outputs, inputs] with both above 0.',
    });
  }
  if (inputs % quantizationGroup !== 0) {
    throw new Emu3Error(`A weight [${outputs}, ${inputs}] cannot be cut into groups of ${quantizationGroup} inputs.`, {
      code: 'shape',
      where,
      fix: `Keep this weight in f32, or use a model whose layers read a multiple of ${quantizationGroup}.`,
    });
  }
  return {
    data: [outputs, (inputs * bitsPerLevel[format]) / 32],
    scales: [outputs, divideRoundUp(inputs, 2 * quantizationGroup)],
  };
}

/** A packed weight as operands of kernel calls. */
export interface QuantizedOperands<T extends Operand> {
  readonly format: QuantizationFormat;
  /** [N outputs, K inputs], K a multiple of 32. */
  readonly shape: readonly number[];
  /** u32, of {@link QuantizedShapes.data}. */
  readonly data: T;
  /** u32, of {@link QuantizedShapes.scales}. */
  readonly scales: T;
}

/** Sizes a kernel reads a packed weight by, after checking that its arrays have the shapes of its format. */
export function quantizedSizes(
  kernel: string,
  weight: QuantizedOperands<Operand>,
): {
  n: number;
  k: number;
  bits: 4 | 8;
  groups: number;
  scaleWords: number;
  /** Bytes of levels and scales. */
  bytes: number;
} {
  const { data, scales } = quantizedShapes(weight.format, weight.shape, `kernel ${kernel}`);
  for (const [name, operand, shape] of [
    ['data', weight.data, data],
    ['scales', weight.scales, scales],
  ] as const) {
    if (operand.shape.length !== 2 || operand.shape[0] !== shape[0] || operand.shape[1] !== shape[1]) {
      throw shapeError(
        kernel,
        `${name} of a ${weight.format} weight [${weight.shape}] is [${operand.shape}] where [${shape}] is needed`,
      );
    }
  }
  const [n = 0, k = 0] = weight.shape;
  const bits = bitsPerLevel[weight.format];
  const bytes = 4 * n * (data[1] + scales[1]);
  return { n, k, bits, groups: k / quantizationGroup, scaleWords: scales[1], bytes };
}
