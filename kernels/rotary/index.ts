import { expectShape, floatType, rowsAndFeatures } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import source from './rotary.wgsl';

export * from './table.js';

const kernel = defineKernel('rotary', source, { aliases: { Scalar: 'f32' } });

/**
 * Turns every pair of every head by its row's position, or back: the backward pass is `direction` -1 on the gradient.
 *
 * @param args.x `[.., heads * headDimension]`, f32 or f16.
 * @param args.positions u32, one per row of x; positions past the table use its last row.
 * @param args.table `[positions, headDimension]` f32 from {@link rotaryTable}.
 * @param args.out Like x, another tensor.
 */
export function rotaryRotate<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; positions: T; table: T; out: T; direction?: 1 | -1 },
): KernelCall<T> {
  const { x, positions, table, out, direction = 1 } = args;
  const { rows, features } = rowsAndFeatures(kernel.name, 'x', x);
  const [tableRows = 0, headDimension = 0] = table.shape;
  if (table.shape.length !== 2 || tableRows === 0 || headDimension === 0 || headDimension % 2 !== 0) {
    throw shapeError(
      kernel.name,
      `table is [${table.shape.join(', ')}] where [positions, even head dimension] is needed`,
    );
  }
  if (features % headDimension !== 0) {
    throw shapeError(kernel.name, `x has ${features} features, not a multiple of the head dimension ${headDimension}`);
  }
  if (elementCount(positions.shape) !== rows) {
    throw shapeError(kernel.name, `positions has ${elementCount(positions.shape)} elements for ${rows} rows`);
  }
  expectShape(kernel.name, 'out', out, x.shape);
  const heads = features / headDimension;
  const halfDimension = headDimension / 2;
  const headsPerWorkgroup = traits.software ? heads : Math.min(4, heads);
  const [gridX, gridY] = linearGrid(rows);
  return kernel.call({
    aliases: { Scalar: floatType(kernel.name, 'x', x) },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : Math.min(64, 32 * divideRoundUp(halfDimension, 32)) },
    params: {
      rows,
      heads,
      half_dimension: halfDimension,
      heads_per_workgroup: headsPerWorkgroup,
      table_rows: tableRows,
      direction,
    },
    bindings: { x, positions, table, out },
    grid: [gridX, gridY, divideRoundUp(heads, headsPerWorkgroup)],
    bytes: 8 * rows * features + 4 * rows * headDimension,
    flops: 3 * rows * features,
  });
}
