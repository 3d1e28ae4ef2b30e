import * as tf from '@tensorflow/tfjs-core';
import type { Job } from './contender.js';
import { finishWork } from './tensorflow-backend.js';
import { rmsNorm, rotaryTensors, rotated, swiglu, toTensor, type Tensors } from './tensorflow-transformer.js';
import {
  adamw,
  comparedSteps,
  trainingTokens,
  transposedWeights,
  type TrainingStep,
  type TransformerSizes,
} from './transformer.js';

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
