import * as jax from '@jax-js/jax';
import type { Job } from './contender.js';
import { rmsNorm, rotaryArrays, rotated, toArrays, type Arrays, type Take } from './jax-transformer.js';
import { firstToken, joinedWeights, type Decoding } from './transformer.js';

const { numpy, nn } = jax;

/** A jitted step for one token; cache, token, position and the ids so far stay on the GPU. */
export function decodingJob(problem: Decoding): Job {
  const { sizes, tokens } = problem;
  const weights = toArrays(joinedWeights(sizes));
  const tables = rotaryArrays(sizes, tokens);
  const step = jax.jit((given: Arrays, state: Arrays) => nextToken(problem, given, state));
  const decode = async (): Promise<Float32Array> => {
    let state = emptyCache(problem);
    for (let token = 0; token < tokens; token++)
      state = step({ ...jax.tree.ref(weights), ...jax.tree.ref(tables) }, state);
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
  return {
    ...Object.fromEntries(cache),
    id: int([firstToken]),
    position: int([0]),
    ids: int(new Array<number>(tokens).fill(0)),
  };
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
    const weight: Take = (part) => given[`model.layers.${layer}.${part}.weight`];
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
