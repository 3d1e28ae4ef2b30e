import { Emu3Error } from '../../kernels/core/errors.js';
import type { KernelCall } from '../../kernels/core/define.js';
import { elementCount, type DType, type KernelTraits, type Operand } from '../../kernels/core/types.js';
import { tensorBytes, type GpuTensor } from '../tensor.js';

/**
 * Memory behind one or more symbolic tensors. `persistent` storage is a {@link GpuTensor} that outlives the program
 * (weights, caches, state, inputs); temporary storage is given a place by the planner.
 */
export interface Storage {
  readonly id: number;
  readonly bytes: number;
  readonly label: string;
  readonly persistent: GpuTensor | undefined;
}

/** A symbolic tensor: what a node reads or writes. Row-major; shares its storage with its reshapes. */
export interface Tensor extends Operand {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly label: string;
  readonly storage: Storage;
}

export type OutputGradients = readonly (Tensor | undefined)[];

export interface NodeSpec {
  name: string;
  inputs: readonly Tensor[];
  outputs: readonly Tensor[];
  calls: readonly KernelCall<Tensor>[];
  /**
   * Given the gradients of the outputs (undefined where none flows; the engine calls it only when at least one is
   * there), emits gradient nodes into the same graph and returns the gradients of the inputs, in order; undefined for
   * an input that is not differentiable.
   */
  backward?: (outputGradients: OutputGradients) => OutputGradients;
}

export interface GraphNode extends NodeSpec {
  readonly index: number;
}

/**
 * A fixed computation: nodes in execution order, each a few kernel calls on symbolic tensors. Build it once, compile
 * it into a {@link Program}, replay that. Gradients are nodes of the same graph (see `gradients`).
 */
export class Graph {
  readonly traits: KernelTraits;
  readonly nodes: GraphNode[] = [];
  private readonly producers = new Map<number, GraphNode>();
  private readonly bound = new Map<GpuTensor, Tensor>();
  private nextTensor = 0;
  private nextStorage = 0;

  constructor(traits: KernelTraits) {
    this.traits = traits;
  }

  private tensor(storage: Storage, shape: readonly number[], dtype: DType, label: string): Tensor {
    return { id: this.nextTensor++, shape: [...shape], dtype, label, storage };
  }

  /** The symbolic tensor of a persistent one; the same for every call with the same tensor. */
  bind(persistent: GpuTensor): Tensor {
    const known = this.bound.get(persistent);
    if (known) return known;
    const { label, byteLength, shape, dtype } = persistent;
    const storage: Storage = { id: this.nextStorage++, bytes: byteLength, label, persistent };
    const tensor = this.tensor(storage, shape, dtype, label);
    this.bound.set(persistent, tensor);
    return tensor;
  }

  /** A tensor that lives from the node that writes it to the last node that reads it. Its first use must be a write. */
  temporary(shape: readonly number[], dtype: DType, label: string): Tensor {
    const storage: Storage = {
      id: this.nextStorage++,
      bytes: tensorBytes(shape, dtype),
      label,
      persistent: undefined,
    };
    return this.tensor(storage, shape, dtype, label);
  }

  /** The same elements under another shape, without a copy. @throws Emu3Error `shape` when the counts differ. */
  reshape(x: Tensor, shape: readonly number[]): Tensor {
    if (elementCount(shape) !== elementCount(x.shape)) {
      throw new Emu3Error(`[${x.shape.join(', ')}] cannot be seen as [${shape.join(', ')}].`, {
        code: 'shape',
        where: x.label,
        fix: 'Keep the number of elements.',
      });
    }
    const out = this.tensor(x.storage, shape, x.dtype, x.label);
    this.node({
      name: 'reshape',
      inputs: [x],
      outputs: [out],
      calls: [],
      backward: ([gradient]) => [gradient && this.reshape(gradient, x.shape)],
    });
    return out;
  }

  /** The same elements, through which no gradient flows. */
  detach(x: Tensor): Tensor {
    const out = this.tensor(x.storage, x.shape, x.dtype, x.label);
    this.node({ name: 'detach', inputs: [x], outputs: [out], calls: [], backward: () => [undefined] });
    return out;
  }

  /** Appends a node. Every output tensor has exactly one producer. */
  node(spec: NodeSpec): void {
    const node: GraphNode = { ...spec, index: this.nodes.length };
    this.nodes.push(node);
    for (const output of spec.outputs) {
      if (output.storage.persistent && output === this.bound.get(output.storage.persistent)) continue;
      if (this.producers.has(output.id)) {
        throw new Emu3Error(`Tensor ${output.label} is written by two nodes.`, {
          code: 'argument',
          where: spec.name,
          fix: 'Write each temporary once.',
        });
      }
      this.producers.set(output.id, node);
    }
  }

  /** The node that made a tensor, or undefined for persistent ones. */
  producer(tensor: Tensor): GraphNode | undefined {
    return this.producers.get(tensor.id);
  }

  /** Makes `outputs` count as made by this node from now on, which hides the nodes that made them from differentiation. */
  encapsulate(spec: NodeSpec): void {
    for (const output of spec.outputs) this.producers.delete(output.id);
    this.node(spec);
  }
}
