import { describe, expect, it } from 'vitest';
import { Graph, Program, checkpoint, gradients } from '../../engine/graph/index.js';
import { add } from '../../engine/ops/elementwise.js';
import { GpuTensor } from '../../engine/tensor.js';
import { checkGradients, pseudoRandom, testDevice } from '../support/kernel.js';

async function bound(
  graph: Graph,
  label: string,
  values: number[],
): Promise<readonly [GpuTensor, ReturnType<Graph['bind']>]> {
  const device = await testDevice();
  const tensor = GpuTensor.from(device, [values.length], 'f32', Float32Array.from(values), label);
  return [tensor, graph.bind(tensor)];
}

describe('graph', () => {
  it('adds gradients of a tensor that is used twice', async () => {
    await checkGradients({
      inputs: { a: { shape: [5], data: pseudoRandom(5, 1) }, b: { shape: [5], data: pseudoRandom(5, 2) } },
      build: (graph, { a, b }) => {
        const twice = add(graph, add(graph, a, b), a);
        return add(graph, twice, graph.reshape(graph.reshape(a, [5, 1]), [5]));
      },
      reference: ({ a, b }) => a.map((value, index) => 3 * value + b[index]),
    });
  });

  it('drops nodes nothing depends on and reuses memory of the dead', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const [, x] = await bound(graph, 'x', [1, 2, 3, 4]);
    let chain = x;
    for (let step = 0; step < 10; step++) chain = add(graph, chain, x);
    add(graph, chain, x);
    const program = await Program.compile(device, graph, { label: 'chain', outputs: [chain] });
    expect(program.dispatches).toBe(10);
    expect(program.memory).toEqual({ arenaBytes: 32, temporaryBytes: 160 });
    program.run();
    expect([...(await program.output(chain).readFloat32())]).toEqual([11, 22, 33, 44]);
  });

  it('puts what lives long in no buffer that something larger needs', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const [, x] = await bound(graph, 'x', [1, 2, 3, 4]);
    const [, y] = await bound(graph, 'y', new Array<number>(64).fill(1));
    add(graph, y, y);
    const large = add(graph, add(graph, y, y), y);
    const small = add(graph, x, x);
    const again = add(graph, add(graph, large, y), y);
    const program = await Program.compile(device, graph, { label: 'sizes', outputs: [small, again] });
    expect(program.memory.arenaBytes).toBe(2 * 256 + 16);
    program.run();
    expect([...(await program.output(small).readFloat32())]).toEqual([2, 4, 6, 8]);
    expect(new Set(await program.output(again).readFloat32())).toEqual(new Set([5]));
  });

  it('runs in parts, which can be told and stopped', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const [, x] = await bound(graph, 'x', [1, 2, 3, 4]);
    let chain = x;
    for (let step = 0; step < 5; step++) chain = add(graph, chain, x);
    const program = await Program.compile(device, graph, { label: 'parts', outputs: [chain] });
    const { flops } = program.work;
    const submits = device.counters.submits;
    const told: number[] = [];
    // Two of the five sums, as many again, and the last.
    await program.runInParts({ onPart: (done) => told.push(done / flops) }, (2 / 5) * flops);
    expect(told).toEqual([2 / 5, 4 / 5, 1]);
    expect(device.counters.submits - submits).toBe(3);
    expect([...(await program.output(chain).readFloat32())]).toEqual([6, 12, 18, 24]);

    const stop = new AbortController();
    told.length = 0;
    const onPart = (done: number): void => {
      told.push(done);
      stop.abort();
    };
    const stopped = program.runInParts({ signal: stop.signal, onPart }, 1);
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
    expect(told).toHaveLength(1);
  });

  it('creates no buffer and no bind group when replayed, and replays bit for bit', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const [x, input] = await bound(graph, 'x', [0.1, 0.2, 0.3]);
    const out = add(graph, add(graph, input, input), input);
    const program = await Program.compile(device, graph, { label: 'replay', outputs: [out] });
    program.runUnreplayed();
    const plain = await program.output(out).readFloat32();
    const before = { ...device.counters };
    program.run();
    x.write(Float32Array.of(0.1, 0.2, 0.3));
    program.run();
    const replayed = await program.output(out).readFloat32();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect([...replayed]).toEqual([...plain]);
  });

  it('computes the same gradients with recomputation', async () => {
    const device = await testDevice();
    const read = async (recompute: boolean): Promise<number[]> => {
      const graph = new Graph(device.traits);
      const [, x] = await bound(graph, 'x', [1, 2]);
      const [, seed] = await bound(graph, 'seed', [1, 10]);
      const build = (): readonly [ReturnType<typeof add>] => [add(graph, add(graph, x, x), x)];
      const [y] = recompute ? checkpoint(graph, [x], [], build) : build();
      const gradient = gradients(graph, [[y, seed]], [x]).get(x);
      if (!gradient) throw new Error('no gradient');
      const program = await Program.compile(device, graph, { label: 'recompute', outputs: [gradient] });
      program.run();
      return [...(await program.output(gradient).readFloat32())];
    };
    expect(await read(true)).toEqual(await read(false));
    expect(await read(true)).toEqual([3, 30]);
  });

  it('refuses a temporary that is read before it is written', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const ghost = graph.temporary([4], 'f32', 'ghost');
    const out = add(graph, ghost, ghost);
    await expect(Program.compile(device, graph, { label: 'bad', outputs: [out] })).rejects.toMatchObject({
      code: 'argument',
      message: expect.stringContaining('ghost') as unknown,
    });
  });

  it('measures each kernel in a profile', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const [, x] = await bound(graph, 'x', [1, 2]);
    const out = add(graph, add(graph, x, x), x);
    const program = await Program.compile(device, graph, { label: 'profiled', outputs: [out] });
    const times = await program.profile();
    expect(times).toHaveLength(1);
    expect(times[0]).toMatchObject({ kernel: 'add', dispatches: 2, flops: 4 });
    expect(times[0]?.time).toBeGreaterThan(0);
  });
});
