import { floatType } from '../core/checks.js';
import {
  bytesPerElement,
  defineKernel,
  divideRoundUp,
  elementCount,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import { checkGeometry, clipSize, weightSize, type ConvGeometry } from './geometry.js';
import finishSource from './weight-finish.wgsl';
import plainSource from './weight-plain.wgsl';
import softwareSource from './weight-software.wgsl';
import tileSource from './weight-tile.wgsl';

const aliases = { RowScalar: 'f32', LaneScalar: 'f32' } as const;
const software = defineKernel('conv weight-software', softwareSource, { aliases, enable: ['subgroups'] });
const plain = defineKernel('conv weight-plain', plainSource, { aliases });
const tile = defineKernel('conv weight-tile', tileSource, { aliases });
const finish = defineKernel('conv weight-finish', finishSource);

/** Bytes of the operands that one split may read: they should stay in a core's cache while every tap passes over them. */
const splitBytes = 192 * 1024;
/** Most elements that the partial sums of all splits may have. */
const partialElements = 4 * 1024 * 1024;
const mostSplits = 32;

/** Subgroups are known to have 8 lanes or more, which the software files' broadcasts need. */
export function hasWideSubgroups(traits: KernelTraits): boolean {
  return traits.subgroups && (traits.subgroupMinSize ?? 4) >= 8;
}

type File = 'software' | 'plain' | 'tile';

interface Plan {
  readonly file: File;
  /** The input's channels are the rows, the output's the lanes; or the other way round. */
  readonly inputRows: boolean;
  readonly pictureRows: number;
  readonly splits: number;
  readonly rowsPerSplit: number;
}

/** Share of a tile of `rowTile` x `laneTile` that does useful work, and which operand should lie along the rows. */
function tileUse(rows: number, lanes: number, rowTile: number, laneTile: number): number {
  return (rows / (divideRoundUp(rows, rowTile) * rowTile)) * (lanes / (divideRoundUp(lanes, laneTile) * laneTile));
}

/** Everything that decides the order of additions: a function of the shapes and of the adapter alone. */
function plan(traits: KernelTraits, x: Operand, outGradient: Operand, taps: number): Plan {
  const input = clipSize('conv weight gradient', 'x', x);
  const output = clipSize('conv weight gradient', 'outGradient', outGradient);
  const [ci, co] = [input.channels, output.channels];
  const pictureRows = output.batch * output.time * output.height;
  let file: File = traits.software ? 'plain' : 'tile';
  let inputRows = true;
  if (traits.software && hasWideSubgroups(traits)) {
    const asRows = co % 4 === 0 ? tileUse(ci, co, 16, 32) : 0;
    const asLanes = ci % 4 === 0 ? tileUse(co, ci, 16, 32) : 0;
    if (asRows > 0 || asLanes > 0) {
      file = 'software';
      inputRows = asRows >= asLanes;
    }
  }
  if (file === 'plain') inputRows = tileUse(ci, co, 8, 8) >= tileUse(co, ci, 8, 8);
  const bytes = 4 * (elementCount(x.shape) + elementCount(outGradient.shape));
  const wanted = traits.software ? divideRoundUp(bytes, splitBytes) : divideRoundUp(pictureRows * output.width, 1024);
  const room = Math.max(1, Math.floor(partialElements / (taps * ci * co)));
  const splits = Math.max(1, Math.min(wanted, mostSplits, room, pictureRows));
  const rowsPerSplit = divideRoundUp(pictureRows, splits);
  return { file, inputRows, pictureRows, splits: divideRoundUp(pictureRows, rowsPerSplit), rowsPerSplit };
}

/** Shape of the f32 scratch tensor that {@link convWeightGradient} sums its splits in. */
export function convWeightPartialShape(
  traits: KernelTraits,
  args: { x: Operand; outGradient: Operand; weightShape: readonly number[] },
): [number, number] {
  const { taps } = weightSize('conv weight gradient', args.weightShape);
  return [plan(traits, args.x, args.outGradient, taps).splits, elementCount(args.weightShape)];
}

/**
 * Gradient of a convolution with respect to its weight, in hub layout: a product over all output pixels in a fixed
 * number of splits, and their sum.
 *
 * @param args.x `[B, T, H, W, Ci]`, the convolution's input; f32 or f16.
 * @param args.outGradient `[B, T', H', W', Co]`; f32 or f16.
 * @param args.partial f32 scratch, shaped {@link convWeightPartialShape}.
 * @param args.weightGradient `[Co, Ci, (kt,) kh, kw]`, f32.
 * @throws Emu3Error `shape` or `dtype` when the operands do not fit together.
 */
export function convWeightGradient<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; outGradient: T; partial: T; weightGradient: T; geometry: ConvGeometry },
): KernelCall<T>[] {
  const { x, outGradient, partial, weightGradient, geometry } = args;
  const name = 'conv weight gradient';
  const input = clipSize(name, 'x', x);
  const output = clipSize(name, 'outGradient', outGradient);
  checkGeometry(name, input, output, geometry);
  const { outputChannels, inputChannels, kernel, taps } = weightSize(name, weightGradient.shape);
  if (
    outputChannels !== output.channels ||
    inputChannels !== input.channels ||
    kernel.some((size, axis) => size !== geometry.kernel[axis])
  ) {
    throw shapeError(
      name,
      `the weight gradient is [${weightGradient.shape.join(', ')}] for ${input.channels} to ${output.channels} channels and kernel ${geometry.kernel.join(' x ')}`,
    );
  }
  const { file, inputRows, pictureRows, splits, rowsPerSplit } = plan(traits, x, outGradient, taps);
  if (elementCount(partial.shape) < splits * elementCount(weightGradient.shape)) {
    throw shapeError(name, `partial is [${partial.shape.join(', ')}] where ${splits} splits are needed`);
  }
  const [rows, lanes] = inputRows ? [x, outGradient] : [outGradient, x];
  const [rowChannels, laneChannels] = inputRows ? [inputChannels, outputChannels] : [outputChannels, inputChannels];
  const call = {
    aliases: { RowScalar: floatType(name, 'x', rows), LaneScalar: floatType(name, 'outGradient', lanes) },
    params: {
      batch: input.batch,
      inputTime: input.time,
      inputHeight: input.height,
      inputWidth: input.width,
      outputTime: output.time,
      outputHeight: output.height,
      outputWidth: output.width,
      rowChannels,
      laneChannels,
      kernelTime: kernel[0],
      kernelHeight: kernel[1],
      kernelWidth: kernel[2],
      strideTime: geometry.stride[0],
      strideHeight: geometry.stride[1],
      strideWidth: geometry.stride[2],
      padTime: geometry.before[0],
      padHeight: geometry.before[1],
      padWidth: geometry.before[2],
      shiftedRows: inputRows ? 1 : 0,
      pictureRows,
      rowsPerSplit,
    },
    bindings: { rows, lanes, partial },
    bytes:
      elementCount(x.shape) * bytesPerElement[x.dtype] +
      elementCount(outGradient.shape) * bytesPerElement[outGradient.dtype] +
      4 * splits * elementCount(weightGradient.shape),
    flops: 2 * pictureRows * output.width * elementCount(weightGradient.shape),
  };
  const grid = (rowTile: number, laneTile: number): readonly [number, number, number] => [
    divideRoundUp(laneChannels, laneTile),
    divideRoundUp(rowChannels, rowTile) * taps,
    splits,
  ];
  const product =
    file === 'tile'
      ? tile.call({ ...call, grid: grid(64, 64) })
      : file === 'plain'
        ? plain.call({ ...call, overrides: { LANES: 8 }, grid: grid(8, 8) })
        : software.call({ ...call, overrides: { LANES: 8 }, grid: grid(16, 32) });
  const workgroup = traits.software ? 8 : 32;
  const sum = finish.call({
    overrides: { WORKGROUP_SIZE: workgroup },
    params: {
      splits,
      taps,
      rows: rowChannels,
      lanes: laneChannels,
      rowStride: inputRows ? taps : inputChannels * taps,
      laneStride: inputRows ? inputChannels * taps : taps,
    },
    bindings: { partial, gradient: weightGradient },
    grid: [divideRoundUp(laneChannels, workgroup), rowChannels, 1],
    bytes: 4 * (splits + 1) * elementCount(weightGradient.shape),
    flops: splits * elementCount(weightGradient.shape),
  });
  return [product, sum];
}
