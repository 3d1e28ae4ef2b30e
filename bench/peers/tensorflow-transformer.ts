import * as tf from '@tensorflow/tfjs-core';
import type { Job } from './contender.js';
import { finishWork } from './tensorflow-backend.js';
import {
  adamw,
  comparedSteps,
  firstToken,
  joinedWeights,
  normEpsilon,
  rotaryTables,
  trainingTokens,
  transposedWeights,
  type Decoding,
  type InitialTensor,
  type TrainingStep,
  type TransformerSizes,
} from './transformer.js';

type Tensors = Readonly<Record<string, tf.Tensor>>;

/** `valueAndGrads` and AdamW, tensor by tensor. */
export function trainingJob(problem: TrainingStep): Job {
  const { sizes, batch, length } = problem;
  const rows = batch * length;
  const { ids, targets } = trainingTokens(problem);
  const given: Tensors = {
    ids: tf.tensor(Int32Array.from(ids), [rows], 'int32'),
    chosen: tf.tidy(() => tf.oneHot(tf.tensor(targets, [rows], 'int32'), sizes.vocabulary, 1, 0, 'float32')),
    hidden: causalMask(length),
    ...rotaryTensors(sizes, length),
  };
  const names = [...transposedWeights(sizes).keys()];
  const lossAndGradients = tf.valueAndGrads((...weights) =>
    meanLoss(problem, Object.fromEntries(names.map((name, index) => [name, weights[index]])), given),
  );
  let state = initialState(sizes);
  const once = (): tf.Tensor => {
    const { loss, next } = tf.tidy(() => {
      const { value, grads } = lossAndGradients(state.weights);
      return { loss: value, next: updated(state, grads) };
    });
    tf.dispose(state);
    state = next;
    return loss;
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) once().dispose();
      await finishWork();
    },
    result: async () => {
      tf.dispose(state);
      state = initialState(sizes);
      const losses: number[] = [];
      while (losses.length < comparedSteps) {
        const loss = once();
        losses.push((await loss.data())[0]);
        loss.dispose();
      }
      return Float32Array.from(losses);
    },
    destroy: () => tf.dispose([state, given]),
  };
}

interface TrainingState {
  readonly step: number;
  readonly weights: readonly tf.Tensor[];
  /** Sums of decayed gradients and of their squares: AdamW's moments but for constant factors. */
  readonly first: readonly tf.Tensor[];
  readonly second: readonly tf.Tensor[];
}

function initialState(sizes: TransformerSizes): TrainingState {
  const initial = [...transposedWeights(sizes).values()];
  const zeros = (): tf.Tensor[] => initial.map(({ shape }) => tf.zeros(shape));
  return { step: 0, weights: initial.map(toTensor), first: zeros(), second: zeros() };
}

function updated(state: TrainingState, gradients: readonly tf.Tensor[]): TrainingState {
  const { learningRate, beta1, beta2, epsilon, weightDecay } = adamw;
  const step = state.step + 1;
  const scale = Math.sqrt((1 - beta2) / (1 - beta2 ** step));
  const rate = (learningRate * (1 - beta1)) / (1 - beta1 ** step) / scale;
  const first = gradients.map((gradient, at) => tf.add(tf.mul(state.first[at], beta1), gradient));
  const second = gradients.map((gradient, at) => tf.add(tf.mul(state.second[at], beta2), tf.square(gradient)));
  const weights = state.weights.map((weight, at) => {
    const change = tf.div(tf.mul(first[at], rate), tf.add(tf.sqrt(second[at]), epsilon / scale));
    return tf.sub(weight.shape.length > 1 ? tf.mul(weight, 1 - learningRate * weightDecay) : weight, change);
  });
  return { step, weights, first, second };
}

function meanLoss({ sizes, batch, length }: TrainingStep, weights: Tensors, given: Tensors): tf.Tensor {
  const rows = batch * length;
  const dimension = sizes.hidden / sizes.heads;
  const byHead = (x: tf.Tensor): tf.Tensor =>
    tf.transpose(tf.reshape(x, [batch, length, sizes.heads, dimension]), [0, 2, 1, 3]);
  const turn = (x: tf.Tensor): tf.Tensor => rotated(byHead(x), given['cos'], given['sin']);
  let x = tf.gather(weights['model.embed_tokens.weight'], given['ids']);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const weight = (part: string): tf.Tensor => weights[`model.layers.${layer}.${part}.weight`];
    const normed = rmsNorm(x, weight('input_layernorm'));
    const query = turn(tf.matMul(normed, weight('self_attn.q_proj')));
    const key = turn(tf.matMul(normed, weight('self_attn.k_proj')));
    const value = byHead(tf.matMul(normed, weight('self_attn.v_proj')));
    const scores = tf.add(tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(dimension)), given['hidden']);
    const attended = tf.transpose(tf.matMul(tf.softmax(scores), value), [0, 2, 1, 3]);
    x = tf.add(x, tf.matMul(tf.reshape(attended, [rows, sizes.hidden]), weight('self_attn.o_proj')));
    const again = rmsNorm(x, weight('post_attention_layernorm'));
    const gated = swiglu(tf.matMul(again, weight('mlp.gate_proj')), tf.matMul(again, weight('mlp.up_proj')));
    x = tf.add(x, tf.matMul(gated, weight('mlp.down_proj')));
  }
  const logits = tf.matMul(rmsNorm(x, weights['model.norm.weight']), weights['lm_head.weight']);
  return tf.mul(tf.sum(tf.mul(tf.logSoftmax(logits), given['chosen'])), -1 / rows);
}

/** 0 where a query may look, [length, length]. */
function causalMask(length: number): tf.Tensor {
  const hidden = Float32Array.from({ length: length ** 2 }, (_, at) =>
    at % length > Math.floor(at / length) ? -1e9 : 0,
  );
  return tf.tensor(hidden, [length, length]);
}

/** Keys and values of a layer so far, [heads, tokens, dimension]. */
type LayerCache = readonly [key: tf.Tensor, value: tf.Tensor];

/** A cache that grows by a token each step, and ids that are read at the end. */
export function decodingJob({ sizes, tokens }: Decoding): Job {
  const weights: Tensors = Object.fromEntries([...joinedWeights(sizes)].map(([name, value]) => [name, toTensor(value)]));
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

function rmsNorm(x: tf.Tensor, weight: tf.Tensor): tf.Tensor {
  const squares = tf.mean(tf.square(x), -1, true);
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(squares, normEpsilon))), weight);
}

function swiglu(gate: tf.Tensor, up: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
}

/** x [.., positions, dimension] turned by tables of {@link rotaryTensors}. */
function rotated(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor {
  const [low, high] = tf.split(x, 2, -1);
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([high, low], -1), sin));
}

/** [positions, dimension] each, for both halves of a head: the first half's sines with their sign. */
function rotaryTensors(sizes: TransformerSizes, positions: number): { cos: tf.Tensor; sin: tf.Tensor } {
  const { cos, sin } = rotaryTables(sizes, positions);
  return tf.tidy(() => {
    const [c, s] = [toTensor(cos), toTensor(sin)];
    return { cos: tf.concat([c, c], -1), sin: tf.concat([tf.mul(s, -1), s], -1) };
  });
}

function toTensor({ shape, values }: InitialTensor): tf.Tensor {
  return tf.tensor(values, shape);
}
