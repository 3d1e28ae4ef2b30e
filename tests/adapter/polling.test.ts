import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';
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

async function prepare(rounds: number): Promise<() => Promise<{ wall: number; polls: number; timers: number }>> {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module, constants: { rounds } },
  });
  const layout = pipeline.getBindGroupLayout(0);
  const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer } }] });
  return async () => {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1024);
    pass.end();
    device.queue.submit([encoder.finish()]);
    const counts = await countPolls(() => device.queue.onSubmittedWorkDone());
    return { wall: performance.now() - start, ...counts };
  };
}

/** How often the binding asked to poll during a wait, and how many timers were set meanwhile. */
async function countPolls(wait: () => Promise<unknown>): Promise<{ polls: number; timers: number }> {
  const immediate = vi.spyOn(globalThis, 'setImmediate');
  const timeout = vi.spyOn(globalThis, 'setTimeout');
  try {
    await wait();
    return { polls: immediate.mock.calls.length, timers: timeout.mock.calls.length };
  } finally {
    immediate.mockRestore();
    timeout.mockRestore();
  }
}

test('waiting for long work polls once a millisecond at most', async () => {
  let rounds = 1000;
  for (;;) {
    const { wall, polls, timers } = await (await prepare(rounds))();
    if (wall > 200) {
      // Unpaced, a poll takes microseconds: thousands in this time. The moment without pauses has a few hundred.
      expect(timers).toBeGreaterThan(0);
      expect(timers).toBeLessThanOrEqual(wall);
      expect(polls - timers).toBeLessThan(1000);
      return;
    }
    rounds *= 4;
  }
});

test('short work is still answered at once', async () => {
  const run = await prepare(1);
  const runs = [];
  for (let i = 0; i < 21; i++) runs.push(await run());
  // The first polls come without a pause, whose end would have to be waited for.
  expect(Math.max(...runs.map(({ polls, timers }) => polls - timers))).toBeGreaterThan(0);
  expect(Math.min(...runs.map(({ timers }) => timers))).toBe(0);
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
