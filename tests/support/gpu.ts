import { afterAll } from 'vitest';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';
import type { DType } from '../../kernels/core/types.js';

let shared: Promise<Device> | undefined;

/** The device of this test file. No adapter is an error, never a skip. */
export async function testDevice(): Promise<Device> {
  shared ??= requestAdapterNode().then((choice) => Device.create(choice));
  return shared;
}

/** Element types of storage the adapter can run. */
export async function dtypesToTest(): Promise<DType[]> {
  const device = await testDevice();
  return device.traits.f16 ? ['f32', 'f16'] : ['f32'];
}

afterAll(async () => {
  if (shared === undefined) return;
  const device = await shared;
  shared = undefined;
  try {
    await device.finish();
  } finally {
    device.destroy();
  }
});
