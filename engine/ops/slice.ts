import { copyWindow, place } from '../../kernels/slice/index.js';
import { elementCount } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/graph.js';

/** Indices `start` to `start + count` of one axis (default the leading one). */
export function slice(graph: Graph, x: Tensor, start: number, count: number, axis = 0): Tensor {
  const inner = elementCount(x.shape.slice(axis + 1));
  const shape = x.shape.map((size, index) => (index === axis ? count : size));
  const rows = elementCount(x.shape.slice(0, axis));
  const out = graph.temporary(shape, x.dtype, `${x.label}[${start}..${start + count}]`);
  const window = { rows, start: 0, count: count * inner, offset: start * inner };
  graph.node({
    name: 'slice',
    inputs: [x],
    outputs: [out],
    calls: [copyWindow(graph.traits, { x, out, ...window })],
    backward: ([gradient]) => {
      if (gradient === undefined) return [undefined];
      const dx = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      const back = { ...window, start: start * inner, offset: 0 };
      graph.node({
        name: 'slice backward',
        inputs: [gradient],
        outputs: [dx],
        calls: [copyWindow(graph.traits, { x: gradient, out: dx, ...back })],
      });
      return [dx];
    },
  });
  return out;
}

/** x with zeros behind, so that one axis has `size` indices. */
export function pad(graph: Graph, x: Tensor, size: number, axis = 0): Tensor {
  const inner = elementCount(x.shape.slice(axis + 1));
  const shape = x.shape.map((own, index) => (index === axis ? size : own));
  const window = { rows: elementCount(x.shape.slice(0, axis)), start: 0, count: x.shape[axis] * inner, offset: 0 };
  const out = graph.temporary(shape, x.dtype, `${x.label} padded`);
  graph.node({
    name: 'pad',
    inputs: [x],
    outputs: [out],
    calls: [copyWindow(graph.traits, { x, out, ...window })],
    backward: ([gradient]) => [gradient && slice(graph, gradient, 0, x.shape[axis], axis)],
  });
  return out;
}

/** Tensors that differ in one axis alone (default the leading one), one after the other along it. */
export function concatenate(graph: Graph, parts: readonly Tensor[], axis = 0): Tensor {
  const [first] = parts;
  const starts = [0];
  for (const part of parts) starts.push(starts[starts.length - 1] + part.shape[axis]);
  const shape = first.shape.map((size, at) => (at === axis ? starts[parts.length] : size));
  const out = graph.temporary(shape, first.dtype, `${first.label} and ${parts.length - 1} more`);
  graph.node({
    name: 'concatenate',
    inputs: parts,
    outputs: [out],
    calls: parts.map((x, index) => place(graph.traits, { x, out, axis, start: starts[index] })),
    backward: ([gradient]) =>
      parts.map((part, index) => gradient && slice(graph, gradient, starts[index], part.shape[axis], axis)),
  });
  return out;
}

/** Copies x to a persistent tensor of as many elements, to be read or used by another program. */
export function keep(graph: Graph, target: Tensor, x: Tensor): void {
  const count = elementCount(x.shape);
  graph.node({
    name: 'keep',
    inputs: [x],
    outputs: [target],
    calls: [copyWindow(graph.traits, { x, out: target, rows: 1, start: 0, count, offset: 0 })],
  });
}
