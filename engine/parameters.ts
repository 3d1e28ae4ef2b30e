import { Emu3Error } from '../kernels/core/errors.js';
import { elementCount } from '../kernels/core/types.js';
import type { Device } from './device.js';
import { checkBindingSize, destroyTensors, GpuTensor } from './tensor.js';

/** Parameters start at multiples of this many elements: 256 bytes of f32, the largest binding alignment a device asks for. */
export const parameterAlignment = 64;

/** One contiguous run of parameters and, when training, its gradients and optimiser moments: all f32 [elements]. */
export interface ParameterBlock {
  readonly parameters: GpuTensor;
  readonly training: TrainingBlock | undefined;
}

export interface TrainingBlock {
  readonly gradients: GpuTensor;
  readonly firstMoment: GpuTensor;
  readonly secondMoment: GpuTensor;
  /** f32 [elements / 64]: 1 where weight decay applies, 0 where not. */
  readonly decayMask: GpuTensor;
}

interface Place {
  readonly block: number;
  /** Elements from the start of the block. */
  readonly offset: number;
  readonly tensor: GpuTensor;
  readonly gradient: GpuTensor | undefined;
}

export interface ParameterStoreOptions {
  /** Also hold gradients, moments and decay masks. */
  training?: boolean;
  /** Whether weight decay applies to a parameter; default: to those with two or more axes. */
  decays?: (name: string, shape: readonly number[]) => boolean;
}

/**
 * All parameters of a model by their hub names, f32, laid out in blocks of at most one storage binding, so that the
 * optimiser updates a block with one dispatch.
 */
export class ParameterStore {
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly blocks: readonly ParameterBlock[];
  private readonly places: ReadonlyMap<string, Place>;

  private constructor(
    shapes: ReadonlyMap<string, readonly number[]>,
    blocks: readonly ParameterBlock[],
    places: ReadonlyMap<string, Place>,
  ) {
    this.shapes = shapes;
    this.blocks = blocks;
    this.places = places;
  }

  /**
   * Allocates zero-filled storage.
   *
   * @throws Emu3Error `limit` when one tensor alone is above the adapter's storage binding size.
   */
  static create(
    device: Device,
    shapes: ReadonlyMap<string, readonly number[]>,
    options: ParameterStoreOptions = {},
  ): ParameterStore {
    const decays = options.decays ?? ((_name, shape) => shape.length >= 2);
    const capacity = Math.floor(device.gpu.limits.maxStorageBufferBindingSize / 4);
    const layout: { name: string; shape: readonly number[]; block: number; offset: number }[] = [];
    const sizes: number[] = [];
    for (const [name, shape] of shapes) {
      const size = Math.ceil(elementCount(shape) / parameterAlignment) * parameterAlignment;
      let block = sizes.length - 1;
      checkBindingSize(device, size * 4, name);
      if (block < 0 || sizes[block] + size > capacity) {
        block = sizes.length;
        sizes.push(0);
      }
      layout.push({ name, shape, block, offset: sizes[block] });
      sizes[block] += size;
    }
    const blocks = sizes.map((size, index): ParameterBlock => {
      const make = (what: string, elements: number): GpuTensor =>
        GpuTensor.create(device, [elements], 'f32', `${what} block ${index}`);
      const training = options.training
        ? {
            gradients: make('gradient', size),
            firstMoment: make('first moment', size),
            secondMoment: make('second moment', size),
            decayMask: make('decay mask', size / parameterAlignment),
          }
        : undefined;
      return { parameters: make('parameter', size), training };
    });
    const places = new Map<string, Place>();
    for (const { name, shape, block, offset } of layout) {
      const { parameters, training } = blocks[block];
      const view = (whole: GpuTensor, label: string): GpuTensor =>
        new GpuTensor(device, whole.buffer, offset * 4, shape, 'f32', label);
      const gradient = training && view(training.gradients, `gradient of ${name}`);
      places.set(name, { block, offset, tensor: view(parameters, name), gradient });
      if (training && decays(name, shape)) {
        const units = Math.ceil(elementCount(shape) / parameterAlignment);
        training.decayMask.write(new Float32Array(units).fill(1), offset / parameterAlignment);
      }
    }
    return new ParameterStore(shapes, blocks, places);
  }

  private place(name: string): Place {
    const place = this.places.get(name);
    if (place === undefined) {
      throw new Emu3Error(`The model has no parameter ${name}.`, {
        code: 'missing',
        where: name,
        fix: 'Use the names of the checkpoint.',
      });
    }
    return place;
  }

  /** The tensor of a parameter: a view into its block. */
  tensor(name: string): GpuTensor {
    return this.place(name).tensor;
  }

  /** Where the gradient of a parameter is accumulated. @throws Emu3Error `missing` unless created for training. */
  gradient(name: string): GpuTensor {
    const { gradient } = this.place(name);
    if (gradient) return gradient;
    throw new Emu3Error('The parameters were loaded without gradients.', {
      code: 'missing',
      where: name,
      fix: 'Create the parameter store with `training: true`.',
    });
  }

  /** Views of the optimiser's moments of a parameter. */
  moments(name: string): { first: GpuTensor; second: GpuTensor } {
    const { block, offset, tensor } = this.place(name);
    const { training } = this.blocks[block];
    if (training === undefined) this.gradient(name);
    const view = (whole: GpuTensor | undefined, what: string): GpuTensor => {
      const buffer = whole?.buffer ?? tensor.buffer;
      return new GpuTensor(tensor.device, buffer, offset * 4, tensor.shape, 'f32', `${what} of ${name}`);
    };
    return {
      first: view(training?.firstMoment, 'first moment'),
      second: view(training?.secondMoment, 'second moment'),
    };
  }

  /** Bytes on the GPU, gradients and moments included. */
  get bytes(): number {
    return this.blocks.reduce((sum, { parameters, training }) => {
      const extra = training ? 3 * parameters.byteLength + training.decayMask.byteLength : 0;
      return sum + parameters.byteLength + extra;
    }, 0);
  }

  destroy(): void {
    for (const { parameters, training } of this.blocks) {
      parameters.destroy();
      if (training === undefined) continue;
      destroyTensors(training);
    }
  }
}
