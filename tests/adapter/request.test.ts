import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, expect, test, vi } from 'vitest';
import { requestAgain } from '../../engine/adapter/describe.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { chromiumPackage } from '../../engine/adapter/vulkan.node.js';
import source from '../tooling/one.wgsl';

afterEach(() => {
  vi.unstubAllEnvs();
});

async function runOnce(adapter: GPUAdapter): Promise<number[]> {
  const device = await adapter.requestDevice();
  const size = 4 * 100;
  const out = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const host = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const module = device.createShaderModule({ code: source });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const layout = pipeline.getBindGroupLayout(0);
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: out } }] }));
  pass.dispatchWorkgroups(2);
  pass.end();
  encoder.copyBufferToBuffer(out, 0, host, 0, size);
  device.queue.submit([encoder.finish()]);
  await host.mapAsync(GPUMapMode.READ);
  const values = [...new Uint32Array(host.getMappedRange())];
  device.destroy();
  return values;
}

const expected = Array.from({ length: 100 }, (_, i) => 3 * i + 1);

test('the default choice computes and says what it is', async () => {
  const lines: string[] = [];
  const choice = await requestAdapterNode({ log: (line) => lines.push(line) });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(`adapter: ${choice.description}`);
  expect(choice.software).toBe(choice.kind !== 'gpu');
  expect(await runOnce(choice.adapter)).toEqual(expected);
});

test('an adapter that made its device is followed by another of its kind', async () => {
  const first = await requestAdapterNode();
  await runOnce(first.adapter);
  const second = await requestAgain(first);
  expect(second.kind).toBe(first.kind);
  expect(await runOnce(second.adapter)).toEqual(expected);
});

test('SwiftShader comes with the packages wherever they carry it', async () => {
  const request = requestAdapterNode({ prefer: 'swiftshader' });
  if (chromiumPackage() === undefined) {
    await expect(request).rejects.toMatchObject({ code: 'no-adapter' });
    return;
  }
  const choice = await request;
  expect(choice.kind).toBe('swiftshader');
  expect(await runOnce(choice.adapter)).toEqual(expected);
});

test('the drivers of one choice do not leak into child processes', async () => {
  const before = process.env['VK_ICD_FILENAMES'];
  await requestAdapterNode();
  expect(process.env['VK_ICD_FILENAMES']).toBe(before);
});

test('a preference that nothing fits, or that does not exist, is an error with a remedy', async () => {
  vi.stubEnv('VK_ICD_FILENAMES', '/nowhere/none.json');
  await expect(requestAdapterNode({ prefer: 'gpu' })).rejects.toMatchObject({ code: 'no-adapter' });
  vi.stubEnv('EMU3_ADAPTER', 'voodoo');
  await expect(requestAdapterNode()).rejects.toMatchObject({ code: 'argument', where: 'EMU3_ADAPTER' });
});

test('a device outlives every reference to the entry point it came from', async () => {
  setFlagsFromString('--expose-gc');
  const adapter = await requestAdapterNode().then((choice) => choice.adapter);
  for (let i = 0; i < 3; i++) {
    runInNewContext('gc()');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(await runOnce(adapter)).toEqual(expected);
});
