import { quantizedShapes, quantize, type QuantizationFormat } from '../../kernels/quantize/index.js';
import type { KernelTraits } from '../../kernels/core/index.js';
import { quantizedLinear, type QuantizedTensors } from '../../engine/ops/quantized-linear.js';
import type { Workbench } from '../workbench.js';
import { largeSizes, type KernelCase } from './types.js';

const formats: readonly QuantizationFormat[] = ['q4', 'q8'];

/** Any bits are levels; the scales are halves of 2^-6, of two groups a word. */
function packedWeight(bench: Workbench, format: QuantizationFormat, out: number, features: number): QuantizedTensors[] {
  const shapes = quantizedShapes(format, [out, features]);
  const scales = new Uint32Array(shapes.scales[0] * shapes.scales[1]).fill(0x24002400);
  const data = bench.integers(shapes.data, 2 ** 32);
  return [{ format, shape: [out, features], data, scales: bench.given(shapes.scales, 'u32', scales) }];
}

function projection(name: string, format: QuantizationFormat, rows: number, features: number, out: number): KernelCase {
  return {
    op: `matmul A Bt, ${format}`,
    sizes: `${name}, ${rows} x ${features} -> ${out}`,
    build: (bench) => [
      quantizedLinear(bench.graph, bench.values([rows, features]), packedWeight(bench, format, out, features)),
    ],
  };
}

function inputGradient(format: QuantizationFormat, rows: number, features: number, out: number): KernelCase {
  return {
    op: `matmul A B, ${format}`,
    sizes: `8B adapter training, ${rows} x ${features} -> ${out}, gradient of the input`,
    build: (bench) => {
      const x = bench.values([rows, features]);
      const product = quantizedLinear(bench.graph, x, packedWeight(bench, format, out, features));
      return bench.gradients(product, [x]);
    },
  };
}

function packing(format: QuantizationFormat, source: 'f32' | 'bf16', out: number, features: number): KernelCase {
  return {
    op: `quantize, ${format}`,
    sizes: `8B tile, ${out} x ${features}, from ${source}`,
    build: (bench) => {
      const { graph } = bench;
      const shapes = quantizedShapes(format, [out, features]);
      // Integers below this are pairs of small bf16 values.
      const rows = source === 'f32' ? bench.values([out, features]) : bench.integers([out, features / 2], 0x3f003f00);
      const data = graph.temporary(shapes.data, 'u32', 'levels');
      const scales = graph.temporary(shapes.scales, 'u32', 'scales');
      const tile = bench.given([2], 'u32', Uint32Array.of(0, out));
      const weight = { format, shape: [out, features], data, scales };
      graph.node({
        name: 'quantize',
        inputs: [rows, tile],
        outputs: [data, scales],
        calls: [quantize(graph.traits, { source: rows, tile, weight })],
      });
      return [data, scales];
    },
  };
}

/** Packed weights of the 8B model: decoding, which is bound by reading them, prefill, adapter training and packing. */
export function quantizedCases(traits: KernelTraits): KernelCase[] {
  const { hidden, intermediate, visionIds } = largeSizes;
  const prefill = traits.software ? 64 : 1024;
  const layer: [number, number][] = [
    [hidden, hidden],
    [hidden, intermediate],
    [intermediate, hidden],
  ];
  return formats.flatMap((format) => [
    ...[1, 2, 8].flatMap((rows) =>
      layer.map(([features, out]) => projection('8B decode', format, rows, features, out)),
    ),
    projection('8B head', format, 2, hidden, visionIds / (traits.software ? 8 : 1)),
    projection('8B prefill', format, prefill, hidden, hidden),
    inputGradient(format, prefill, hidden, hidden),
    packing(format, 'f32', 1024, hidden),
    packing(format, 'bf16', 1024, hidden),
  ]);
}
