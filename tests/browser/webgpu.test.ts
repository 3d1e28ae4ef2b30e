import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import source from '../tooling/one.wgsl';
import { openChromium } from './chromium.js';
import { serveFolders } from '../../demos/web/static-server.node.js';

test('the browser computes with WebGPU on a page of our own server', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'emu3-page-'));
  await writeFile(join(folder, 'index.html'), '<!doctype html><title>compute</title>');
  const [server, browser] = [await serveFolders({ '': folder }), await openChromium()];
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/`);
    expect(await page.title()).toBe('compute');
    const values = await page.evaluate(async (code) => {
      const adapter = await navigator.gpu.requestAdapter();
      if (adapter === null) throw new Error('the browser offers no adapter');
      const device = await adapter.requestDevice();
      const size = 400;
      const out = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
      const host = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const module = device.createShaderModule({ code });
      const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
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
      return [...new Uint32Array(host.getMappedRange())];
    }, source);
    expect(values).toEqual(Array.from({ length: 100 }, (_, i) => 3 * i + 1));
  } finally {
    await browser.close();
    await server.close();
    await rm(folder, { recursive: true });
  }
});

test('the server gives byte ranges and nothing outside its folder', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'emu3-page-'));
  await writeFile(join(folder, 'data.bin'), '0123456789');
  const server = await serveFolders({ '/model': folder });
  try {
    const part = await fetch(`${server.url}/model/data.bin`, { headers: { range: 'bytes=2-4' } });
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 2-4/10', '234']);
    const tag = part.headers.get('etag');
    expect(tag).toMatch(/^"10-/);
    await writeFile(join(folder, 'data.bin'), '01234567890');
    expect((await fetch(`${server.url}/model/data.bin`)).headers.get('etag')).not.toBe(tag);
    expect((await fetch(`${server.url}/model/data.bin`, { headers: { range: 'bytes=99-' } })).status).toBe(416);
    expect((await fetch(`${server.url}/model/none`)).status).toBe(404);
    expect((await fetch(`${server.url}/model/%2e%2e%2f%2e%2e%2fetc/hostname`)).status).toBe(404);
  } finally {
    await server.close();
    await rm(folder, { recursive: true });
  }
});
