import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';

/** A dispatch whose length grows with `rounds`. */
const code = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
override rounds: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  var x = f32(id.x);
  for (var i = 0u; i < rounds; i++) { x = fma(x, 0.999, 1.0); }
  out[id.x] = x;
}`;

const { adapter } = await requestAdapterNode();
const device = await adapter.requestDevice();
const buffer = device.createBuffer({ size: 4 * 65536, usage: GPUBufferUsage.STORAGE });

afterAll(() => {
  device.destroy();
});

async function prepare(rounds: number): Promise<() => Promise<{ wall: number; busy: number }>> {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module, constants: { rounds } },
  });
  const layout = pipeline.getBindGroupLayout(0);
  const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
  return async () => {
    const loop = performance.eventLoopUtilization();
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1024);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return { wall: performance.now() - start, busy: performance.eventLoopUtilization(loop).utilization };
  };
}

test('waiting for long work leaves the JavaScript thread idle', async () => {
  let rounds = 1000;
  for (;;) {
    const { wall, busy } = await (await prepare(rounds))();
    if (wall > 200) {
      // An unpaced wait is busy all the time. On a loaded machine some waits are, too: the quietest of a few counts.
      const again = [busy];
      for (let i = 0; i < 4; i++) again.push((await (await prepare(rounds))()).busy);
      expect(Math.min(...again)).toBeLessThan(0.7);
      return;
    }
    rounds *= 4;
  }
});

test('short work is still answered at once', async () => {
  const run = await prepare(1);
  const walls: number[] = [];
  for (let i = 0; i < 21; i++) walls.push((await run()).wall);
  // Pacing that slept first would delay every one; on a loaded machine only the fastest tells.
  expect(Math.min(...walls)).toBeLessThan(20);
});

test('several waits at a time all end', async () => {
  const [long, short] = [await prepare(3000), await prepare(1)];
  const runs = await Promise.all([long(), short(), long(), short()]);
  expect(runs.every(({ wall }) => wall > 0)).toBe(true);
});

test('other users of setImmediate see no difference', async () => {
  const seen: unknown[] = [];
  const cancelled = setImmediate(() => seen.push('cancelled'));
  clearImmediate(cancelled);
  setImmediate((...args: unknown[]) => seen.push(...args), 1, 'two');
  setImmediate(seen.push.bind(seen), 'bound');
  const value = await promisify(setImmediate)('kept');
  expect(value).toBe('kept');
  expect(seen).toEqual([1, 'two', 'bound']);
});
