import { Emu3Error } from '../../kernels/core/errors.js';
import type { KernelCall } from '../../kernels/core/define.js';
import type { Graph, GraphNode, Storage, Tensor } from './graph.js';

/** One dispatch of the plan with the node it belongs to. */
export interface PlannedCall {
  readonly node: string;
  readonly call: KernelCall<Tensor>;
}

export interface MemoryPlan {
  readonly calls: readonly PlannedCall[];
  /** Bytes of each buffer of the arena. */
  readonly slots: readonly number[];
  /** Which buffer of the arena each temporary storage lives in. */
  readonly slotOf: ReadonlyMap<Storage, number>;
  /** Sum of the bytes of all temporaries: what memory would be needed without reuse. */
  readonly temporaryBytes: number;
}

/**
 * Drops nodes nothing depends on, then gives every temporary a buffer for the time from its first write to its last
 * read. Two temporaries share a buffer only when their lifetimes do not touch, so inputs and outputs of one dispatch
 * are always in different buffers, as WebGPU wants (a buffer is either read or written within a dispatch).
 *
 * @param outputs temporaries that must still hold their value when the program has run.
 * @throws Emu3Error `argument` when a temporary is read before it is written.
 */
export function planMemory(graph: Graph, outputs: readonly Tensor[]): MemoryPlan {
  const nodes = liveNodes(graph, outputs);
  const calls = nodes.flatMap((node) => node.calls.map((call) => ({ node: node.name, call })));
  const kept = new Set(outputs.map((tensor) => tensor.storage));
  const first = new Map<Storage, number>();
  const last = new Map<Storage, number>();
  calls.forEach(({ node, call }, position) => {
    for (const binding of call.kernel.bindings) {
      const tensor = call.bindings[binding.name];
      const { storage } = tensor;
      if (storage.persistent) continue;
      if (!first.has(storage)) {
        if (binding.access === 'read') {
          throw new Emu3Error(`${tensor.label} is read before anything writes it.`, {
            code: 'argument',
            where: `${node} / ${call.kernel.name}`,
            fix: 'Emit the node that writes it first.',
          });
        }
        first.set(storage, position);
      }
      last.set(storage, kept.has(storage) ? calls.length : position);
    }
  });
  return { calls, ...assignSlots(first, last) };
}

function liveNodes(graph: Graph, outputs: readonly Tensor[]): GraphNode[] {
  const wanted = new Set(outputs.map((tensor) => tensor.storage));
  const live: GraphNode[] = [];
  for (const node of [...graph.nodes].reverse()) {
    const writes = node.calls.flatMap((call) =>
      call.kernel.bindings
        .filter((binding) => binding.access === 'read_write')
        .map((binding) => call.bindings[binding.name].storage),
    );
    if (!writes.some((storage) => storage.persistent !== undefined || wanted.has(storage))) continue;
    live.push(node);
    for (const call of node.calls) {
      for (const tensor of Object.values(call.bindings)) wanted.add(tensor.storage);
    }
  }
  return live.reverse();
}

interface Lifetime {
  readonly first: number;
  readonly last: number;
}

/**
 * Greedy packing by size: the largest temporaries first, each into the smallest buffer that nothing else needs during its
 * lifetime, else into a new one. So a long-lived small one never sits in a large buffer that others have to wait for.
 * Buffers, not offsets in one big buffer, because read and written ranges must not share one.
 */
function assignSlots(
  first: ReadonlyMap<Storage, number>,
  last: ReadonlyMap<Storage, number>,
): Pick<MemoryPlan, 'slots' | 'slotOf' | 'temporaryBytes'> {
  const slots: number[] = [];
  /** Lifetimes of what each buffer holds, in order. */
  const held: Lifetime[][] = [];
  const slotOf = new Map<Storage, number>();
  let temporaryBytes = 0;
  const ordered = [...first.entries()].sort((a, b) => b[0].bytes - a[0].bytes || a[1] - b[1]);
  for (const [storage, start] of ordered) {
    temporaryBytes += storage.bytes;
    const lifetime = { first: start, last: last.get(storage) ?? start };
    // Buffers come in descending size, so the last that is free is the smallest.
    let slot = slots.length - 1;
    while (slot >= 0 && !isFree(held[slot], lifetime)) slot--;
    if (slot < 0) {
      slot = slots.length;
      slots.push(storage.bytes);
      held.push([]);
    }
    held[slot].splice(placeOf(held[slot], lifetime), 0, lifetime);
    slotOf.set(storage, slot);
  }
  return { slots, slotOf, temporaryBytes };
}

/** Index of the first of these lifetimes, which are in order, that begins after the given one does. */
function placeOf(lifetimes: readonly Lifetime[], { first }: Lifetime): number {
  let low = 0;
  let high = lifetimes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lifetimes[middle].first > first) high = middle;
    else low = middle + 1;
  }
  return low;
}

function isFree(lifetimes: readonly Lifetime[], lifetime: Lifetime): boolean {
  const place = placeOf(lifetimes, lifetime);
  const before = lifetimes.at(place - 1);
  if (place > 0 && before !== undefined && before.last >= lifetime.first) return false;
  return place === lifetimes.length || lifetimes[place].first > lifetime.last;
}
