import { transformerRotaryTable, type TransformerConfig } from '../../engine/models/transformer/index.js';
import { transformerTensorShapes } from '../../loader/config/shapes.js';
import { inputValues, swapAxes } from './problems.js';

/**
 * A transformer like Emu3's: RMSNorm, rotary embeddings that turn a head's halves against each other, causal attention
 * with as many key-value heads, SwiGLU, a head of its own, no biases.
 */
export interface TransformerSizes {
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly vocabulary: number;
}

/** Steps of AdamW on one batch: every engine learns the same from the same numbers. */
export interface TrainingStep {
  readonly kind: 'training step';
  readonly sizes: TransformerSizes;
  readonly batch: number;
  /** Tokens of a sequence. */
  readonly length: number;
}

/** The most probable token, so many times, behind {@link firstToken}, with a cache of keys and values. */
export interface Decoding {
  readonly kind: 'decode';
  readonly sizes: TransformerSizes;
  readonly tokens: number;
}

/** Steps whose losses are compared, from the initial weights on. */
export const comparedSteps = 4;

/** Of every step. Matrices decay, norms do not; gradients are not clipped. */
export const adamw = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-6, weightDecay: 0.1 } as const;

/** What decoding begins with. */
export const firstToken = 1;

export const normEpsilon = 1e-5;

/** The sizes under the hub's names. No id is the padding's, so all are learned. */
export function transformerConfig(sizes: TransformerSizes): TransformerConfig {
  return {
    vocab_size: sizes.vocabulary,
    hidden_size: sizes.hidden,
    intermediate_size: sizes.intermediate,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.heads,
    max_position_embeddings: 4096,
    rms_norm_eps: normEpsilon,
    rope_theta: 10000,
    rope_scaling: null,
    attention_dropout: 0,
    tie_word_embeddings: false,
    pad_token_id: 0,
  };
}

/** A weight with its values on the host. */
export interface InitialTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** Weights by their names on the hub, matrices [out, in]: norms are 1, products keep the size of what they read. */
export function initialWeights(sizes: TransformerSizes): ReadonlyMap<string, InitialTensor> {
  const shapes = [...transformerTensorShapes(transformerConfig(sizes))];
  return new Map(
    shapes.map(([name, shape], index) => {
      if (shape.length === 1) return [name, { shape, values: new Float32Array(shape[0]).fill(1) }];
      const scale = name === embeddingName ? 1 : Math.sqrt(3 / shape[1]);
      return [name, { shape, values: inputValues(shape, index + 1, scale) }];
    }),
  );
}

const embeddingName = 'model.embed_tokens.weight';

/** {@link initialWeights} for engines that multiply from the right: matrices [in, out], the embeddings as they are. */
export function transposedWeights(sizes: TransformerSizes): ReadonlyMap<string, InitialTensor> {
  const turn = (name: string, tensor: InitialTensor): InitialTensor => {
    const [rows, columns] = tensor.shape;
    if (tensor.shape.length === 1 || name === embeddingName) return tensor;
    return { shape: [columns, rows], values: swapAxes(tensor.values, rows, columns) };
  };
  return new Map([...initialWeights(sizes)].map(([name, tensor]) => [name, turn(name, tensor)]));
}

const joins = {
  'self_attn.qkv_proj': ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  'mlp.gate_up_proj': ['mlp.gate_proj', 'mlp.up_proj'],
} as const;

/** {@link transposedWeights} with what reads one input as one matrix: `self_attn.qkv_proj` and `mlp.gate_up_proj`. */
export function joinedWeights(sizes: TransformerSizes): ReadonlyMap<string, InitialTensor> {
  const weights = new Map(transposedWeights(sizes));
  for (let layer = 0; layer < sizes.layers; layer++) {
    const name = (part: string): string => `model.layers.${layer}.${part}.weight`;
    for (const [joined, parts] of Object.entries(joins)) {
      weights.set(name(joined), joinedColumns(parts.flatMap((part) => weights.get(name(part)) ?? [])));
      for (const part of parts) weights.delete(name(part));
    }
  }
  return weights;
}

/** Matrices [in, one out after the other] side by side, for one product instead of several. */
export function joinedColumns(parts: readonly InitialTensor[]): InitialTensor {
  const rows = parts[0].shape[0];
  const columns = parts.reduce((sum, { shape }) => sum + shape[1], 0);
  const values = new Float32Array(rows * columns);
  let first = 0;
  for (const { shape, values: part } of parts) {
    for (let row = 0; row < rows; row++)
      values.set(part.subarray(row * shape[1], (row + 1) * shape[1]), row * columns + first);
    first += shape[1];
  }
  return { shape: [rows, columns], values };
}

/** Cosines and sines [positions, head dimension / 2] of the turns of the pairs of a head. */
export function rotaryTables(sizes: TransformerSizes, positions: number): { cos: InitialTensor; sin: InitialTensor } {
  const table = transformerRotaryTable(transformerConfig(sizes), positions);
  const half = table.length / positions / 2;
  // Each row holds its cosines, then its sines.
  const halves = swapAxes(table, positions, 2, half);
  const part = (index: number): InitialTensor => ({
    shape: [positions, half],
    values: halves.slice(index * positions * half, (index + 1) * positions * half),
  });
  return { cos: part(0), sin: part(1) };
}

/** Ids [batch * length] and the ids to be predicted behind each. */
export function trainingTokens({ sizes, batch, length }: TrainingStep): { ids: Uint32Array; targets: Int32Array } {
  const drawn = inputValues([batch, length + 1], 99);
  const rows = Array.from({ length: batch }, (_, row) =>
    Int32Array.from(drawn.subarray(row * (length + 1), (row + 1) * (length + 1)), (value) =>
      // Not 0, the padding's.
      Math.max(1, Math.floor(((value + 1) / 2) * sizes.vocabulary)),
    ),
  );
  return {
    ids: Uint32Array.from(rows.flatMap((row) => [...row.subarray(0, length)])),
    targets: Int32Array.from(rows.flatMap((row) => [...row.subarray(1)])),
  };
}
