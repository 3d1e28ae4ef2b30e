import type { KernelTraits } from '../../kernels/core/index.js';
import { linear, matmul } from '../../engine/ops/matmul.js';
import { largeSizes, type KernelCase, type LanguageSizes } from './types.js';

/** x W^T: what every projection of the transformer is. */
function projection(name: string, rows: number, features: number, out: number, dtype: 'f32' | 'f16'): KernelCase {
  const suffix = dtype === 'f16' ? ', f16' : '';
  return {
    op: 'matmul A Bt',
    sizes: `${name}, ${rows} x ${features} -> ${out}${suffix}`,
    build: (bench) => [
      linear(bench.graph, bench.values([rows, features], dtype), bench.values([out, features], dtype)),
    ],
  };
}

/** Gradients of a projection of `rows` training tokens: by its input (A B) and by its weight (At B). */
function projectionGradients(name: string, rows: number, features: number, out: number): KernelCase[] {
  const sizes = `${name}, ${rows} x ${features} -> ${out}`;
  return [
    {
      op: 'matmul A B',
      sizes: `${sizes}, gradient of the input`,
      build: (bench) => [matmul(bench.graph, bench.values([rows, out]), bench.values([out, features]))],
    },
    {
      op: 'matmul At B',
      sizes: `${sizes}, gradient of the weight`,
      build: (bench) => [
        matmul(bench.graph, bench.values([rows, out]), bench.values([rows, features]), { transposeA: true }),
      ],
    },
  ];
}

export function matmulCases(traits: KernelTraits, nano: LanguageSizes, trainingRows: number): KernelCase[] {
  const { hidden, intermediate, vocabulary, visionIds } = nano;
  const keyValue = nano.keyValueHeads * nano.headDimension;
  const layer: [number, number][] = [
    [hidden, hidden],
    [hidden, keyValue],
    [hidden, intermediate],
    [intermediate, hidden],
  ];
  const large = largeSizes;
  // Software adapters offer WebGPU's least bindings, which hold halves of the MLP's weights and an eighth of the head's.
  const [shards, headShards] = traits.software ? [2, 8] : [1, 1];
  const largeLayer: [number, number][] = [
    [large.hidden, large.hidden],
    [large.hidden, large.intermediate / shards],
    [large.intermediate, large.hidden / shards],
  ];
  const types: ('f32' | 'f16')[] = traits.f16 ? ['f32', 'f16'] : ['f32'];
  const prefill = traits.software ? 64 : 1024;
  return [
    ...[1, 2, 16].flatMap((rows) =>
      [...layer, [hidden, visionIds]].map(([features, out]) => projection('nano decode', rows, features, out, 'f32')),
    ),
    ...[...layer, [hidden, vocabulary]].flatMap(([features, out]) => [
      projection('nano training', trainingRows, features, out, 'f32'),
      ...projectionGradients('nano training', trainingRows, features, out),
    ]),
    ...types.flatMap((dtype) => [
      ...[1, 2, 8].flatMap((rows) =>
        largeLayer.map(([features, out]) => projection('8B decode', rows, features, out, dtype)),
      ),
      projection('8B head', 2, large.hidden, large.visionIds / headShards, dtype),
      ...largeLayer.map(([features, out]) => projection('8B prefill', prefill, features, out, dtype)),
      projection('square', 1024, 1024, 1024, dtype),
    ]),
    ...projectionGradients('square', 1024, 1024, 1024),
  ];
}
