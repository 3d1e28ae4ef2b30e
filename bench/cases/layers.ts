import type { KernelTraits } from '../../kernels/core/index.js';
import type { Tensor } from '../../engine/graph/index.js';
import { batchNorm } from '../../engine/ops/batch-norm.js';
import { dropout } from '../../engine/ops/dropout.js';
import { add, silu } from '../../engine/ops/elementwise.js';
import { groupNorm } from '../../engine/ops/group-norm.js';
import { permute } from '../../engine/ops/permute.js';
import { rmsNorm } from '../../engine/ops/rms-norm.js';
import { rotary } from '../../engine/ops/rotary.js';
import { softmax } from '../../engine/ops/softmax.js';
import { spatialNorm } from '../../engine/ops/spatial-norm.js';
import { swiglu } from '../../engine/ops/swiglu.js';
import { upsampleSpace } from '../../engine/ops/upsample.js';
import type { Workbench } from '../workbench.js';
import { largeSizes, type KernelCase, type LanguageSizes } from './types.js';

/** A layer with its gradients by all its differentiable inputs. */
function trained(
  op: string,
  sizes: string,
  layer: (bench: Workbench) => { out: Tensor; inputs: readonly Tensor[] },
): KernelCase {
  return {
    op: `${op} with gradients`,
    sizes,
    build: (bench) => {
      const { out, inputs } = layer(bench);
      return [out, ...bench.gradients(out, inputs)];
    },
  };
}

function normedRows(bench: Workbench, rows: number, features: number): { out: Tensor; inputs: Tensor[] } {
  const inputs = [bench.values([rows, features]), bench.values([features])];
  return { out: rmsNorm(bench.graph, inputs[0], inputs[1], 1e-5), inputs };
}

function normedPicture(bench: Workbench, shape: readonly number[]): { out: Tensor; inputs: Tensor[] } {
  const channels = shape[4];
  const [x, weight, bias] = [bench.values(shape), bench.values([channels]), bench.values([channels])];
  return {
    out: groupNorm(bench.graph, x, { weight, bias, groups: 32, epsilon: 1e-6, silu: true }),
    inputs: [x, weight, bias],
  };
}

function conditioned(bench: Workbench, shape: readonly number[], grid: number): { out: Tensor; inputs: Tensor[] } {
  const condition = [shape[0], 1, grid, grid, shape[4]];
  const [normal, scale, shift] = [bench.values(shape), bench.values(condition), bench.values(condition)];
  return { out: spatialNorm(bench.graph, normal, scale, shift, { silu: true }), inputs: [normal, scale, shift] };
}

function normedClip(bench: Workbench, shape: readonly number[]): { out: Tensor; inputs: Tensor[] } {
  const channels = [shape[4]];
  const inputs = [bench.values(shape), bench.values(channels), bench.values(channels)];
  const [runningMean, runningVariance] = [bench.values(channels), bench.values(channels)];
  const statistics = { runningMean, runningVariance, training: true, epsilon: 1e-5, silu: true };
  const out = batchNorm(bench.graph, inputs[0], { weight: inputs[1], bias: inputs[2], ...statistics });
  return { out, inputs };
}

function rotated(bench: Workbench, rows: number, length: number, sizes: LanguageSizes): Tensor {
  const { heads, headDimension } = sizes;
  const x = bench.values([rows, heads * headDimension]);
  return rotary(bench.graph, x, bench.integers([rows], length), bench.values([length, headDimension]));
}

/** Norms, activations and what else moves every element once. */
export function layerCases(traits: KernelTraits, nano: LanguageSizes, batch: number, length: number): KernelCase[] {
  const rows = batch * length;
  const training = `nano training, ${rows} x ${nano.hidden}`;
  const largeRows = traits.software ? 256 : 1024;
  const side = traits.software ? 128 : 512;
  const wide = [1, 1, side, side, 256];
  const pair = (bench: Workbench, features: number, count = rows): [Tensor, Tensor] => [
    bench.values([count, features]),
    bench.values([count, features]),
  ];
  return [
    { op: 'rms norm', sizes: `8B decode, 2 x 4096`, build: (bench) => [normedRows(bench, 2, 4096).out] },
    {
      op: 'rms norm',
      sizes: `8B prefill, ${largeRows} x 4096`,
      build: (bench) => [normedRows(bench, largeRows, largeSizes.hidden).out],
    },
    trained('rms norm', training, (bench) => normedRows(bench, rows, nano.hidden)),
    trained('swiglu', `nano training, ${rows} x ${nano.intermediate}`, (bench) => {
      const inputs = pair(bench, nano.intermediate);
      return { out: swiglu(bench.graph, ...inputs), inputs };
    }),
    { op: 'rotary embedding', sizes: training, build: (bench) => [rotated(bench, rows, length, nano)] },
    { op: 'add', sizes: training, build: (bench) => [add(bench.graph, ...pair(bench, nano.hidden))] },
    {
      op: 'add',
      sizes: `8B prefill, ${largeRows} x 4096`,
      build: (bench) => [add(bench.graph, ...pair(bench, largeSizes.hidden, largeRows))],
    },
    {
      op: 'dropout',
      sizes: training,
      build: (bench) => {
        const state = bench.given([2], 'u32', Uint32Array.of(1, 2));
        return [dropout(bench.graph, bench.values([rows, nano.hidden]), { rate: 0.05, site: 1, state })];
      },
    },
    trained('group norm and SiLU', 'nano tokenizer, 4 x 64 x 64 x 32', (bench) =>
      normedPicture(bench, [4, 1, 64, 64, 32]),
    ),
    {
      op: 'group norm and SiLU',
      sizes: `full-width tokenizer, ${side} x ${side} x 256`,
      build: (bench) => [normedPicture(bench, wide).out],
    },
    trained('spatially conditioned norm', 'nano tokenizer, 4 x 64 x 64 x 32', (bench) =>
      conditioned(bench, [4, 1, 64, 64, 32], 8),
    ),
    {
      op: 'spatially conditioned norm',
      sizes: `full-width tokenizer, ${side} x ${side} x 256`,
      build: (bench) => [conditioned(bench, wide, side / 8).out],
    },
    trained('batch norm and SiLU', 'nano tokenizer, 4 x 4 x 8 x 8 x 8', (bench) => normedClip(bench, [4, 4, 8, 8, 8])),
    trained('softmax', 'nano tokenizer, 256 x 64', (bench) => {
      const x = bench.values([256, 64]);
      return { out: softmax(bench.graph, x), inputs: [x] };
    }),
    trained('SiLU', 'nano tokenizer, 4 x 4 x 8 x 8 x 8', (bench) => {
      const x = bench.values([4, 4, 8, 8, 8]);
      return { out: silu(bench.graph, x), inputs: [x] };
    }),
    trained('nearest x2', 'nano tokenizer, 4 x 32 x 32 x 32', (bench) => {
      const x = bench.values([4, 1, 32, 32, 32]);
      return { out: upsampleSpace(bench.graph, x), inputs: [x] };
    }),
    {
      op: 'permutation',
      sizes: 'transpose of 2048 x 2048',
      build: (bench) => [permute(bench.graph, bench.values([2048, 2048]), [1, 0])],
    },
  ];
}
