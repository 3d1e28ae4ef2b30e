import * as tf from '@tensorflow/tfjs-core';
import { normEpsilon, rotaryTables, type InitialTensor, type TransformerSizes } from './transformer.js';

export type Tensors = Readonly<Record<string, tf.Tensor>>;

export function rmsNorm(x: tf.Tensor, weight: tf.Tensor): tf.Tensor {
  const squares = tf.mean(tf.square(x), -1, true);
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(squares, normEpsilon))), weight);
}

export function swiglu(gate: tf.Tensor, up: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
}

/** x [.., positions, dimension] turned by tables of {@link rotaryTensors}. */
export function rotated(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor {
  const [low, high] = tf.split(x, 2, -1);
  return tf.add(tf.mul(x, cos), tf.mul(tf.concat([high, low], -1), sin));
}

/** [positions, dimension] each, for both halves of a head: the first half's sines with their sign. */
export function rotaryTensors(sizes: TransformerSizes, positions: number): { cos: tf.Tensor; sin: tf.Tensor } {
  const { cos, sin } = rotaryTables(sizes, positions);
  return tf.tidy(() => {
    const [c, s] = [toTensor(cos), toTensor(sin)];
    return { cos: tf.concat([c, c], -1), sin: tf.concat([tf.mul(s, -1), s], -1) };
  });
}

export function toTensor({ shape, values }: InitialTensor): tf.Tensor {
  return tf.tensor(values, shape);
}
