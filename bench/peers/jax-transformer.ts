import * as jax from '@jax-js/jax';
import type { Job } from './contender.js';
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

const { numpy, nn } = jax;

/** Arrays by name; functions of the engine take and give them as they are. */
type Arrays = Record<string, jax.Array>;

/** Reads a weight without consuming it. */
type Read = (part: string) => jax.Array;

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

type TrainingState = {
  readonly weights: Arrays;
  readonly first: Arrays;
  readonly second: Arrays;
  /** Powers of the decay rates: what the moments lack after so many steps. */
  readonly decayed: { readonly first: jax.Array; readonly second: jax.Array };
};

function initialState(sizes: TransformerSizes): TrainingState {
  const initial = transposedWeights(sizes);
  const zeros = (): Arrays =>
    Object.fromEntries([...initial].map(([name, { shape }]) => [name, numpy.zeros(shape)]));
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
    const weight: Read = (part) => weights[`model.layers.${layer}.${part}.weight`];
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
  return numpy.where(chosen, nn.logSoftmax(logits, -1), 0).sum().mul(-1 / rows);
}

/** A jitted step for one token; cache, token, position and the ids so far stay on the GPU. */
export function decodingJob(problem: Decoding): Job {
  const { sizes, tokens } = problem;
  const weights = toArrays(joinedWeights(sizes));
  const tables = rotaryArrays(sizes, tokens);
  const step = jax.jit((given: Arrays, state: Arrays) => nextToken(problem, given, state));
  const decode = async (): Promise<Float32Array> => {
    let state = emptyCache(problem);
    for (let token = 0; token < tokens; token++) state = step({ ...jax.tree.ref(weights), ...jax.tree.ref(tables) }, state);
    const { ids, ...rest } = state;
    jax.tree.dispose(rest);
    return Float32Array.from(await ids.data());
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) await decode();
    },
    result: decode,
    destroy: () => jax.tree.dispose([weights, tables]),
  };
}

function emptyCache({ sizes, tokens }: Decoding): Arrays {
  const shape = [tokens, sizes.heads, sizes.hidden / sizes.heads];
  const int = (values: number[]): jax.Array => numpy.array(Int32Array.from(values), { shape: [values.length] });
  const cache = Array.from({ length: sizes.layers }, (_, layer) => [
    [`key ${layer}`, numpy.zeros(shape)],
    [`value ${layer}`, numpy.zeros(shape)],
  ]).flat() as [string, jax.Array][];
  return { ...Object.fromEntries(cache), id: int([firstToken]), position: int([0]), ids: int(new Array(tokens).fill(0)) };
}

function nextToken({ sizes, tokens }: Decoding, given: Arrays, state: Arrays): Arrays {
  const { hidden, intermediate } = sizes;
  const heads = [1, sizes.heads, hidden / sizes.heads];
  const { id, position } = state;
  const next: Arrays = {};
  const places = numpy.arange(tokens);
  const here = numpy.equal(places.ref, position.ref);
  const seen = numpy.lessEqual(places, position.ref);
  const cos = numpy.take(given['cos'], position.ref, 0);
  const sin = numpy.take(given['sin'], position.ref, 0);
  const turn = (x: jax.Array): jax.Array => rotated(x.reshape(heads), cos.ref, sin.ref);
  const cached = (name: string, x: jax.Array): jax.Array => {
    next[name] = numpy.where(here.ref.reshape([tokens, 1, 1]), x, state[name]);
    return next[name].ref;
  };
  let x = numpy.take(given['model.embed_tokens.weight'], id, 0);
  for (let layer = 0; layer < sizes.layers; layer++) {
    const weight: Read = (part) => given[`model.layers.${layer}.${part}.weight`];
    const joined = numpy.matmul(rmsNorm(x.ref, weight('input_layernorm')), weight('self_attn.qkv_proj'));
    const query = turn(joined.ref.slice([], [0, hidden]));
    const key = cached(`key ${layer}`, turn(joined.ref.slice([], [hidden, 2 * hidden])));
    const value = cached(`value ${layer}`, joined.slice([], [2 * hidden, 3 * hidden]).reshape(heads));
    const mask = seen.ref.reshape([1, 1, tokens]);
    const attended = nn.dotProductAttention(query, key, value, { mask }).reshape([1, hidden]);
    x = x.add(numpy.matmul(attended, weight('self_attn.o_proj')));
    const halves = numpy.matmul(rmsNorm(x.ref, weight('post_attention_layernorm')), weight('mlp.gate_up_proj'));
    const gate = nn.silu(halves.ref.slice([], [0, intermediate]));
    x = x.add(numpy.matmul(gate.mul(halves.slice([], [intermediate, 2 * intermediate])), weight('mlp.down_proj')));
  }
  for (const array of [seen, cos, sin]) array.dispose();
  const logits = numpy.matmul(rmsNorm(x, given['model.norm.weight']), given['lm_head.weight']);
  const best = numpy.argmax(logits, 1);
  const ids = numpy.where(here, best.ref, state['ids']);
  return { ...next, ids, id: best, position: position.add(1) };
}

/** x over its root mean square. */
function rmsNorm(x: jax.Array, weight: jax.Array): jax.Array {
  const squares = numpy.square(x.ref).mean(-1, { keepdims: true });
  return x.mul(numpy.reciprocal(numpy.sqrt(squares.add(normEpsilon)))).mul(weight);
}

/** x [.., positions, heads, dimension] turned by the tables [positions, dimension / 2]. */
function rotated(x: jax.Array, cos: jax.Array, sin: jax.Array): jax.Array {
  const [positions, half] = cos.shape;
  const [c, s] = [cos, sin].map((table) => table.reshape([positions, 1, half]));
  const [low, high] = numpy.split(x, 2, -1);
  const turnedLow = low.ref.mul(c.ref).sub(high.ref.mul(s.ref));
  const turnedHigh = high.mul(c).add(low.mul(s));
  return numpy.concatenate([turnedLow, turnedHigh], -1);
}

function rotaryArrays(sizes: TransformerSizes, positions: number): { cos: jax.Array; sin: jax.Array } {
  const { cos, sin } = rotaryTables(sizes, positions);
  return { cos: toArray(cos), sin: toArray(sin) };
}

function toArrays(tensors: ReadonlyMap<string, InitialTensor>): Arrays {
  return Object.fromEntries([...tensors].map(([name, tensor]) => [name, toArray(tensor)]));
}

function toArray({ shape, values }: InitialTensor): jax.Array {
  return numpy.array(values, { shape });
}
