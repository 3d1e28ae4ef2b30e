import { Emu3Error } from '../../kernels/core/errors.js';
import { add } from '../ops/elementwise.js';
import type { Graph, GraphNode, Tensor } from './graph.js';

/**
 * Reverse-mode differentiation: emits into `graph` the nodes that compute the gradients of a scalar function with
 * respect to `wanted`, given the gradients of some tensors it flows through.
 *
 * @param seeds pairs of a tensor and the gradient that arrives at it (same shape, f32).
 * @param wanted tensors to differentiate by; usually parameters.
 * @returns gradients (f32, shapes of the tensors), without an entry for tensors the seeds do not depend on.
 */
export function gradients(
  graph: Graph,
  seeds: readonly (readonly [Tensor, Tensor])[],
  wanted: readonly Tensor[],
): Map<Tensor, Tensor> {
  const byTensor = new Map<number, Tensor>();
  const contribute = (tensor: Tensor, gradient: Tensor): void => {
    if (gradient.dtype !== 'f32' || gradient.shape.join() !== tensor.shape.join()) {
      throw new Emu3Error(
        `The gradient of ${tensor.label} [${tensor.shape.join(', ')}] came as ${gradient.dtype} [${gradient.shape.join(', ')}].`,
        { code: 'shape', where: 'gradients', fix: 'Return f32 gradients in the shapes of the inputs.' },
      );
    }
    const known = byTensor.get(tensor.id);
    byTensor.set(tensor.id, known ? add(graph, known, gradient) : gradient);
  };
  for (const [tensor, gradient] of seeds) contribute(tensor, gradient);

  const needed = dependents(graph, seeds, wanted);
  for (const node of needed) {
    const outputGradients = node.outputs.map((output) => byTensor.get(output.id));
    if (!outputGradients.some((gradient) => gradient !== undefined)) continue;
    if (node.backward === undefined) {
      throw new Emu3Error(`${node.name} has no gradient, but a parameter is behind it.`, {
        code: 'unsupported',
        where: node.name,
        fix: 'Keep parameters out of what it reads, or stop the gradient before it.',
      });
    }
    const inputGradients = node.backward(outputGradients);
    node.inputs.forEach((input, index) => {
      const gradient = inputGradients[index];
      if (gradient) contribute(input, gradient);
    });
  }
  const result = new Map<Tensor, Tensor>();
  for (const tensor of wanted) {
    const gradient = byTensor.get(tensor.id);
    if (gradient) result.set(tensor, gradient);
  }
  return result;
}

/** Nodes between the wanted tensors and the seeds, last first: gradients flow through no others. */
function dependents(
  graph: Graph,
  seeds: readonly (readonly [Tensor, Tensor])[],
  wanted: readonly Tensor[],
): GraphNode[] {
  const reached = new Set(wanted.map((tensor) => tensor.id));
  const forward: GraphNode[] = [];
  for (const node of graph.nodes) {
    if (!node.inputs.some((input) => reached.has(input.id))) continue;
    const outputs = node.outputs.filter((output) => graph.producer(output) === node);
    if (outputs.length === 0) continue;
    forward.push(node);
    for (const output of outputs) reached.add(output.id);
  }
  const wantedBack = new Set(seeds.map(([tensor]) => tensor.id));
  const backward: GraphNode[] = [];
  for (const node of forward.reverse()) {
    if (!node.outputs.some((output) => wantedBack.has(output.id))) continue;
    backward.push(node);
    for (const input of node.inputs) wantedBack.add(input.id);
  }
  return backward;
}

/**
 * Activation recomputation: runs `build` now, keeps only its inputs and outputs, and runs it again while the
 * gradients are made. `build` must emit the same nodes both times (dropout sites included).
 *
 * @param parameters tensors `build` reads besides `inputs` that want gradients.
 */
export function checkpoint(
  graph: Graph,
  inputs: readonly Tensor[],
  parameters: readonly Tensor[],
  build: () => readonly Tensor[],
): readonly Tensor[] {
  const outputs = build();
  const all = [...inputs, ...parameters];
  graph.encapsulate({
    name: 'checkpoint',
    inputs: all,
    outputs,
    calls: [],
    backward: (outputGradients) => {
      const again = build();
      const seeds: [Tensor, Tensor][] = [];
      again.forEach((tensor, index) => {
        const gradient = outputGradients[index];
        if (gradient) seeds.push([tensor, gradient]);
      });
      const found = gradients(graph, seeds, all);
      return all.map((tensor) => found.get(tensor));
    },
  });
  return outputs;
}
