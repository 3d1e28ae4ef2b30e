import * as tf from '@tensorflow/tfjs-core';
import type { Job } from './contender.js';
import { rmsNorm, rotaryTensors, rotated, swiglu, toTensor, type Tensors } from './tensorflow-transformer.js';
import { firstToken, joinedWeights, type Decoding, type TransformerSizes } from './transformer.js';

/** Keys and values of a layer so far, [heads, tokens, dimension]. */
type LayerCache = readonly [key: tf.Tensor, value: tf.Tensor];

/** A cache that grows by a token each step, and ids that are read at the end. */
export function decodingJob({ sizes, tokens }: Decoding): Job {
  const weights: Tensors = Object.fromEntries(
    [...joinedWeights(sizes)].map(([name, value]) => [name, toTensor(value)]),
  );
  const tables = rotaryTensors(sizes, tokens);
  const first = tf.tensor(Int32Array.of(firstToken), [1], 'int32');
  const decode = async (): Promise<Float32Array> => {
    let id = first;
    let cache: readonly LayerCache[] = [];
    const ids: tf.Tensor[] = [];
    for (let position = 0; position < tokens; position++) {
      const next = tf.tidy(() => nextToken(sizes, weights, tables, { id, cache, position }));
      tf.dispose(cache);
      ({ id, cache } = next);
      ids.push(id);
    }
    const all = tf.concat(ids, 0);
    const values = Float32Array.from(await all.data());
    tf.dispose([cache, ids, all]);
    return values;
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) await decode();
    },
    result: decode,
    destroy: () => tf.dispose([weights, tables, first]),
  };
}

interface DecodeState {
  /** Int32 [1]. */
  readonly id: tf.Tensor;
  /** Empty before the first token. */
  readonly cache: readonly LayerCache[];
  readonly position: number;
}

function nextToken(
  sizes: TransformerSizes,
  weights: Tensors,
  tables: Tensors,
  { id, cache, position }: DecodeState,
): Pick<DecodeState, 'id' | 'cache'> {
  const { hidden, heads } = sizes;
  const dimension = hidden / heads;
  const [cos, sin] = [tables['cos'], tables['sin']].map((table) => tf.slice(table, [position, 0], [1, dimension]));
  const next: LayerCache[] = [];
  let x = tf.gather(weights['model.embed_tokens.weight'], id);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const weight = (part: string): tf.Tensor => weights[`model.layers.${layer}.${part}.weight`];
    const projected = tf.matMul(rmsNorm(x, weight('input_layernorm')), weight('self_attn.qkv_proj'));
    const [both, newValue] = tf.split(tf.reshape(projected, [3 * heads, 1, dimension]), [2 * heads, heads], 0);
    const [query, newKey] = tf.split(rotated(both, cos, sin), 2, 0);
    const before = cache.at(layer);
    const key = before ? tf.concat([before[0], newKey], 1) : newKey;
    const value = before ? tf.concat([before[1], newValue], 1) : newValue;
    next.push([key, value]);
    const scores = tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(dimension));
    const attended = tf.reshape(tf.matMul(tf.softmax(scores), value), [1, hidden]);
    x = tf.add(x, tf.matMul(attended, weight('self_attn.o_proj')));
    const halves = tf.matMul(rmsNorm(x, weight('post_attention_layernorm')), weight('mlp.gate_up_proj'));
    const [gate, up] = tf.split(halves, 2, 1);
    x = tf.add(x, tf.matMul(swiglu(gate, up), weight('mlp.down_proj')));
  }
  const logits = tf.matMul(rmsNorm(x, weights['model.norm.weight']), weights['lm_head.weight']);
  return { id: tf.argMax(logits, 1), cache: next };
}
