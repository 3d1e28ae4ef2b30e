import * as jax from '@jax-js/jax';
import type { Job } from './contender.js';
import { rmsNorm, rotaryArrays, rotated, toArrays, type Arrays, type Take } from './jax-transformer.js';
import {
  adamw,
  comparedSteps,
  trainingTokens,
  transposedWeights,
  type TrainingStep,
  type TransformerSizes,
} from './transformer.js';

const { numpy, nn } = jax;

/** A jitted step of `valueAndGrad` and AdamW, the state handed from one to the next on the GPU. */
export function trainingJob(problem: TrainingStep): Job {
  const { sizes, batch, length } = problem;
  const tokens = trainingTokens(problem);
  const ids = numpy.array(Int32Array.from(tokens.ids), { shape: [batch * length] });
  const targets = numpy.array(tokens.targets, { shape: [batch * length, 1] });
  const tables = rotaryArrays(sizes, length);
  const lossAndGradients = jax.valueAndGrad((weights: Arrays, given: Arrays) => meanLoss(problem, weights, given));
  const step = jax.jit((state: TrainingState, given: Arrays): [jax.Array, TrainingState] => {
    const [loss, gradients] = lossAndGradients(jax.tree.ref(state.weights), given);
    return [loss, updated(state, gradients)];
  });
  let state = initialState(sizes);
  const once = (): jax.Array => {
    const [loss, next] = step(state, { ids: ids.ref, targets: targets.ref, cos: tables.cos.ref, sin: tables.sin.ref });
    state = next;
    return loss;
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) once().dispose();
      await jax.blockUntilReady(state);
    },
    result: async () => {
      jax.tree.dispose(state);
      state = initialState(sizes);
      const losses: number[] = [];
      while (losses.length < comparedSteps) losses.push((await once().data())[0]);
      return Float32Array.from(losses);
    },
    destroy: () => jax.tree.dispose([state, ids, targets, tables]),
  };
}

interface TrainingState {
  readonly weights: Arrays;
  readonly first: Arrays;
  readonly second: Arrays;
  /** Powers of the decay rates: what the moments lack after so many steps. */
  readonly decayed: { readonly first: jax.Array; readonly second: jax.Array };
}

function initialState(sizes: TransformerSizes): TrainingState {
  const initial = transposedWeights(sizes);
  const zeros = (): Arrays => Object.fromEntries([...initial].map(([name, { shape }]) => [name, numpy.zeros(shape)]));
  return {
    weights: toArrays(initial),
    first: zeros(),
    second: zeros(),
    decayed: { first: numpy.ones([1]), second: numpy.ones([1]) },
  };
}

function updated(state: TrainingState, gradients: Arrays): TrainingState {
  const { learningRate, beta1, beta2, epsilon, weightDecay } = adamw;
  const decayed = { first: state.decayed.first.mul(beta1), second: state.decayed.second.mul(beta2) };
  const missing = (decay: jax.Array): jax.Array => decay.ref.neg().add(1);
  const rate = numpy.reciprocal(missing(decayed.first)).mul(learningRate);
  const unbias = numpy.reciprocal(missing(decayed.second));
  const next: { weights: Arrays; first: Arrays; second: Arrays } = { weights: {}, first: {}, second: {} };
  for (const [name, gradient] of Object.entries(gradients)) {
    const weight = state.weights[name];
    const first = state.first[name].mul(beta1).add(gradient.ref.mul(1 - beta1));
    const second = state.second[name].mul(beta2).add(numpy.square(gradient).mul(1 - beta2));
    const size = numpy.sqrt(second.ref.mul(unbias.ref)).add(epsilon);
    const kept = weight.shape.length > 1 ? weight.mul(1 - learningRate * weightDecay) : weight;
    next.weights[name] = kept.sub(first.ref.mul(rate.ref).div(size));
    next.first[name] = first;
    next.second[name] = second;
  }
  rate.dispose();
  unbias.dispose();
  return { ...next, decayed };
}

function meanLoss({ sizes, batch, length }: TrainingStep, weights: Arrays, given: Arrays): jax.Array {
  const { ids, targets, cos, sin } = given;
  const rows = batch * length;
  const heads = [batch, length, sizes.heads, sizes.hidden / sizes.heads];
  const turn = (x: jax.Array): jax.Array => rotated(x.reshape(heads), cos.ref, sin.ref);
  let x = numpy.take(weights['model.embed_tokens.weight'], ids, 0);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const weight: Take = (part) => weights[`model.layers.${layer}.${part}.weight`];
    const normed = rmsNorm(x.ref, weight('input_layernorm'));
    const query = turn(numpy.matmul(normed.ref, weight('self_attn.q_proj')));
    const key = turn(numpy.matmul(normed.ref, weight('self_attn.k_proj')));
    const value = numpy.matmul(normed, weight('self_attn.v_proj')).reshape(heads);
    const attended = nn.dotProductAttention(query, key, value, { isCausal: true }).reshape([rows, sizes.hidden]);
    x = x.add(numpy.matmul(attended, weight('self_attn.o_proj')));
    const again = rmsNorm(x.ref, weight('post_attention_layernorm'));
    const gate = nn.silu(numpy.matmul(again.ref, weight('mlp.gate_proj')));
    const up = numpy.matmul(again, weight('mlp.up_proj'));
    x = x.add(numpy.matmul(gate.mul(up), weight('mlp.down_proj')));
  }
  cos.dispose();
  sin.dispose();
  const logits = numpy.matmul(rmsNorm(x, weights['model.norm.weight']), weights['lm_head.weight']);
  // Not by takeAlongAxis, whose gradient it refuses to compile.
  const chosen = numpy.equal(numpy.arange(sizes.vocabulary), targets);
  return numpy
    .where(chosen, nn.logSoftmax(logits, -1), 0)
    .sum()
    .mul(-1 / rows);
}
