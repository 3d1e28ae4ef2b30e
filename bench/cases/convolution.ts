import type { KernelTraits } from '../../kernels/core/index.js';
import { conv, type ConvGeometry } from '../../engine/ops/conv.js';
import type { KernelCase } from './types.js';

const same: ConvGeometry = { kernel: [1, 3, 3], stride: [1, 1, 1], before: [0, 1, 1], after: [0, 1, 1] };
const pointwise: ConvGeometry = { kernel: [1, 1, 1], stride: [1, 1, 1], before: [0, 0, 0], after: [0, 0, 0] };
const halving: ConvGeometry = { kernel: [1, 3, 3], stride: [1, 2, 2], before: [0, 0, 0], after: [0, 1, 1] };
const temporal: ConvGeometry = { kernel: [3, 3, 3], stride: [1, 1, 1], before: [2, 1, 1], after: [0, 1, 1] };
const temporalHalving: ConvGeometry = { kernel: [4, 3, 3], stride: [2, 1, 1], before: [2, 1, 1], after: [0, 1, 1] };

/** A convolution of a clip of `size` [B, T, H, W] from `input` to `output` channels. */
interface Layer {
  readonly use: string;
  readonly size: readonly [number, number, number, number];
  readonly channels: readonly [input: number, output: number];
  readonly geometry: ConvGeometry;
}

function sizesOf({ use, size, channels, geometry }: Layer): string {
  const step = Math.max(...geometry.stride) > 1 ? ' stride 2' : '';
  return `${use}, ${size.join(' x ')}, ${channels.join(' -> ')}, ${geometry.kernel.join('x')}${step}`;
}

function forward(layer: Layer): KernelCase {
  const { size, channels, geometry } = layer;
  return {
    op: 'convolution',
    sizes: sizesOf(layer),
    build: (bench) => {
      const x = bench.values([...size, channels[0]]);
      const weight = bench.values([channels[1], channels[0], ...geometry.kernel]);
      return [conv(bench.graph, x, weight, bench.values([channels[1]]), geometry)];
    },
  };
}

/** Gradients by input, weight and bias; the forward pass is not part of it. */
function backward(layer: Layer, wanted: 'input' | 'weight'): KernelCase {
  const { size, channels, geometry } = layer;
  return {
    op: `convolution, gradient of the ${wanted}`,
    sizes: sizesOf(layer),
    build: (bench) => {
      const x = bench.values([...size, channels[0]]);
      const weight = bench.values([channels[1], channels[0], ...geometry.kernel]);
      const out = conv(bench.graph, x, weight, bench.values([channels[1]]), geometry);
      return bench.gradients(out, [wanted === 'input' ? x : weight]);
    },
  };
}

export function convolutionCases(traits: KernelTraits): KernelCase[] {
  const nano = 'nano tokenizer';
  const full = 'full-width tokenizer';
  const trained: Layer[] = [
    { use: nano, size: [4, 1, 64, 64], channels: [32, 32], geometry: same },
    { use: nano, size: [4, 1, 16, 16], channels: [64, 64], geometry: same },
    { use: nano, size: [4, 1, 64, 64], channels: [32, 32], geometry: halving },
    { use: nano, size: [4, 1, 16, 16], channels: [32, 64], geometry: pointwise },
  ];
  // The whole picture of 512 x 512 takes a software adapter minutes; its parts show the same kernels.
  const [large, small] = traits.software ? [64, 16] : [512, 64];
  return [
    ...trained.flatMap((layer) => [forward(layer), backward(layer, 'input'), backward(layer, 'weight')]),
    forward({ use: nano, size: [4, 1, 64, 64], channels: [3, 32], geometry: same }),
    forward({ use: nano, size: [4, 1, 64, 64], channels: [32, 3], geometry: same }),
    forward({ use: nano, size: [4, 4, 8, 8], channels: [8, 8], geometry: temporalHalving }),
    forward({ use: nano, size: [4, 2, 8, 8], channels: [8, 8], geometry: temporal }),
    forward({ use: full, size: [1, 1, large, large], channels: [3, 256], geometry: same }),
    forward({ use: full, size: [1, 1, large, large], channels: [256, 256], geometry: same }),
    forward({ use: full, size: [1, 1, large / 2, large / 2], channels: [256, 512], geometry: pointwise }),
    forward({ use: full, size: [1, 1, large / 2, large / 2], channels: [512, 512], geometry: same }),
    forward({ use: full, size: [1, 1, small, small], channels: [1024, 1024], geometry: same }),
    forward({ use: full, size: [1, 1, large, large], channels: [256, 256], geometry: halving }),
    forward({ use: full, size: [1, 4, 64, 64], channels: [4, 4], geometry: temporalHalving }),
  ];
}
