/** Element types a tensor can have on the GPU. bf16 exists only in files: it is widened or packed while loading. */
export type DType = 'f32' | 'f16' | 'u32' | 'i32';

export const bytesPerElement: Readonly<Record<DType, number>> = { f32: 4, f16: 2, u32: 4, i32: 4 };

/** What a kernel call needs to know of a tensor. The engine's symbolic tensors and concrete GPU tensors both are operands. */
export interface Operand {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** What a kernel may use on the current adapter; the call functions pick files and tile sizes by it. */
export interface KernelTraits {
  /** A CPU implementation of WebGPU: no workgroup memory in hot loops, small workgroups, rows uniform in a workgroup. */
  readonly software: boolean;
  /** `shader-f16` is enabled. */
  readonly f16: boolean;
  /** `subgroups` is enabled. */
  readonly subgroups: boolean;
  /** Fewest lanes a subgroup can have on the adapter; unknown (take WebGPU's least, 4) when undefined. */
  readonly subgroupMinSize?: number;
  /** maxComputeInvocationsPerWorkgroup of the device, at least 256. */
  readonly maxInvocations: number;
  /** maxComputeWorkgroupStorageSize of the device in bytes, at least 16384. */
  readonly maxWorkgroupStorage: number;
}

/** The largest number of workgroups along one grid dimension that WebGPU guarantees. */
export const maxGridDimension = 65535;

/** Number of elements of a shape (1 for a scalar shape `[]`). */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function divideRoundUp(value: number, divisor: number): number {
  return Math.floor((value + divisor - 1) / divisor);
}

/**
 * Spreads `workgroups` over x and y so that neither passes {@link maxGridDimension}. The kernel rebuilds the linear
 * index as `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must ignore indices past its count.
 */
export function linearGrid(workgroups: number): readonly [number, number, number] {
  if (workgroups <= maxGridDimension) return [Math.max(1, workgroups), 1, 1];
  const rows = divideRoundUp(workgroups, maxGridDimension);
  return [divideRoundUp(workgroups, rows), rows, 1];
}
