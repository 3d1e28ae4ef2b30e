import { expectShape, floatType, rowsAndFeatures } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  linearGrid,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import addForwardSource from './add-forward.wgsl';
import backwardWeightSource from './backward-weight.wgsl';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';
import sumPartialsSource from './sum-partials.wgsl';

const aliases = { Scalar: 'f32', Weight: 'f32' } as const;
const forward = defineKernel('rms-norm forward', forwardSource, { aliases });
const addForward = defineKernel('rms-norm add-forward', addForwardSource, { aliases });
const backward = defineKernel('rms-norm backward', backwardSource, { aliases });
const backwardWeight = defineKernel('rms-norm backward-weight', backwardWeightSource, { aliases: { Scalar: 'f32' } });
const sumPartials = defineKernel('rms-norm sum-partials', sumPartialsSource);

function rowWorkgroup(traits: KernelTraits): number {
  return traits.software ? 8 : 64;
}

function columnWorkgroup(traits: KernelTraits): number {
  return traits.software ? 16 : 64;
}

/**
 * Number of slices that {@link rmsNormBackwardWeight} cuts the rows into; its partial sums are `[slices, features]`.
 * It depends on the number of rows alone, so the order of additions does not change from run to run.
 */
export function rmsNormWeightSlices(rows: number): number {
  return Math.min(64, divideRoundUp(rows, 32));
}

/**
 * `out = x * inverseRms * weight`, `inverseRms = 1 / sqrt(mean(x^2) + epsilon)` per row.
 *
 * @param args.x `[.., features]`; f32 or f16.
 * @param args.weight `[features]`; f32 or f16.
 * @param args.out Like x.
 * @param args.inverseRms `[rows]`, f32, kept for the backward pass.
 */
export function rmsNormForward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; weight: T; out: T; inverseRms: T; epsilon: number },
): KernelCall<T> {
  const { x, weight, out, inverseRms, epsilon } = args;
  const { rows, features } = rowsAndFeatures(forward.name, 'x', x);
  expectShape(forward.name, 'weight', weight, [features]);
  expectShape(forward.name, 'out', out, x.shape);
  expectShape(forward.name, 'inverseRms', inverseRms, [rows]);
  return forward.call({
    aliases: { Scalar: floatType(forward.name, 'x', x), Weight: floatType(forward.name, 'weight', weight) },
    overrides: { WORKGROUP_SIZE: rowWorkgroup(traits) },
    params: { rows, features, epsilon },
    bindings: { x, weight, out, inverse_rms: inverseRms },
    grid: linearGrid(rows),
    bytes: 8 * rows * features,
    flops: 4 * rows * features,
  });
}

/**
 * `sum = x + delta` and its norm `out`, as {@link rmsNormForward} gives it, which adds in f32 before it rounds.
 *
 * @param args.x,delta,sum,out `[.., features]`, of one type, f32 or f16.
 * @param args.weight `[features]`; f32 or f16.
 */
export function rmsNormAddForward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; delta: T; weight: T; sum: T; out: T; epsilon: number },
): KernelCall<T> {
  const { x, delta, weight, sum, out, epsilon } = args;
  const { name } = addForward;
  const { rows, features } = rowsAndFeatures(name, 'x', x);
  expectShape(name, 'weight', weight, [features]);
  for (const [operand, given] of Object.entries({ delta, sum, out })) expectShape(name, operand, given, x.shape);
  return addForward.call({
    aliases: { Scalar: floatType(name, 'x', x), Weight: floatType(name, 'weight', weight) },
    overrides: { WORKGROUP_SIZE: rowWorkgroup(traits) },
    params: { rows, features, epsilon },
    bindings: { x, delta, weight, sum, out },
    grid: linearGrid(rows),
    bytes: 16 * rows * features,
    flops: 5 * rows * features,
  });
}

/**
 * Gradient with respect to x; `outGradient` and `xGradient` are f32 and shaped like x, `inverseRms` is what the forward
 * pass saved.
 */
export function rmsNormBackward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; weight: T; inverseRms: T; outGradient: T; xGradient: T },
): KernelCall<T> {
  const { x, weight, inverseRms, outGradient, xGradient } = args;
  const { rows, features } = rowsAndFeatures(backward.name, 'x', x);
  expectShape(backward.name, 'weight', weight, [features]);
  expectShape(backward.name, 'inverseRms', inverseRms, [rows]);
  expectShape(backward.name, 'outGradient', outGradient, x.shape);
  expectShape(backward.name, 'xGradient', xGradient, x.shape);
  return backward.call({
    aliases: { Scalar: floatType(backward.name, 'x', x), Weight: floatType(backward.name, 'weight', weight) },
    overrides: { WORKGROUP_SIZE: rowWorkgroup(traits) },
    params: { rows, features },
    bindings: { x, weight, inverse_rms: inverseRms, out_gradient: outGradient, x_gradient: xGradient },
    grid: linearGrid(rows),
    bytes: 12 * rows * features,
    flops: 8 * rows * features,
  });
}

/**
 * Gradient with respect to the weight, `[features]` f32, in two dispatches through `partials`
 * `[rmsNormWeightSlices(rows), features]` f32.
 */
export function rmsNormBackwardWeight<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; inverseRms: T; outGradient: T; partials: T; weightGradient: T },
): KernelCall<T>[] {
  const { x, inverseRms, outGradient, partials, weightGradient } = args;
  const { rows, features } = rowsAndFeatures(backwardWeight.name, 'x', x);
  const slices = rmsNormWeightSlices(rows);
  expectShape(backwardWeight.name, 'inverseRms', inverseRms, [rows]);
  expectShape(backwardWeight.name, 'outGradient', outGradient, x.shape);
  expectShape(backwardWeight.name, 'partials', partials, [slices, features]);
  expectShape(backwardWeight.name, 'weightGradient', weightGradient, [features]);
  const size = columnWorkgroup(traits);
  const columnBlocks = divideRoundUp(features, size);
  return [
    backwardWeight.call({
      aliases: { Scalar: floatType(backwardWeight.name, 'x', x) },
      overrides: { WORKGROUP_SIZE: size },
      params: { rows, features, rows_per_slice: divideRoundUp(rows, slices) },
      bindings: { x, inverse_rms: inverseRms, out_gradient: outGradient, partials },
      grid: [columnBlocks, slices, 1],
      bytes: 8 * rows * features + 4 * slices * features,
      flops: 3 * rows * features,
    }),
    sumPartials.call({
      overrides: { WORKGROUP_SIZE: size },
      params: { slices, features },
      bindings: { partials, out: weightGradient },
      grid: [columnBlocks, 1, 1],
      bytes: 4 * (slices + 1) * features,
      flops: slices * features,
    }),
  ];
}
