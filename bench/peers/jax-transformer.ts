import * as jax from '@jax-js/jax';
import { normEpsilon, rotaryTables, type InitialTensor, type TransformerSizes } from './transformer.js';

const { numpy } = jax;

/** Arrays by name; functions of the engine take and give them as they are. */
export type Arrays = Record<string, jax.Array>;

/** Takes a weight, once. */
export type Take = (part: string) => jax.Array;

/** x over its root mean square. */
export function rmsNorm(x: jax.Array, weight: jax.Array): jax.Array {
  const squares = numpy.square(x.ref).mean(-1, { keepdims: true });
  return x.mul(numpy.reciprocal(numpy.sqrt(squares.add(normEpsilon)))).mul(weight);
}

/** x [.., positions, heads, dimension] turned by the tables [positions, dimension / 2]. */
export function rotated(x: jax.Array, cos: jax.Array, sin: jax.Array): jax.Array {
  const [positions, half] = cos.shape;
  const [c, s] = [cos, sin].map((table) => table.reshape([positions, 1, half]));
  const [low, high] = numpy.split(x, 2, -1);
  const turnedLow = low.ref.mul(c.ref).sub(high.ref.mul(s.ref));
  const turnedHigh = high.mul(c).add(low.mul(s));
  return numpy.concatenate([turnedLow, turnedHigh], -1);
}

export function rotaryArrays(sizes: TransformerSizes, positions: number): { cos: jax.Array; sin: jax.Array } {
  const { cos, sin } = rotaryTables(sizes, positions);
  return { cos: toArray(cos), sin: toArray(sin) };
}

export function toArrays(tensors: ReadonlyMap<string, InitialTensor>): Arrays {
  return Object.fromEntries([...tensors].map(([name, tensor]) => [name, toArray(tensor)]));
}

function toArray({ shape, values }: InitialTensor): jax.Array {
  return numpy.array(values, { shape });
}
