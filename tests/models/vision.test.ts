import { describe, expect, it } from 'vitest';
import { Graph, Program } from '../../engine/graph/index.js';
import { bandLimits } from '../../engine/models/vision/bands.js';
import { ClipPasses } from '../../engine/models/vision/clip-passes.js';
import { GpuTensor } from '../../engine/tensor.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { visionLoss } from '../../engine/train/vision-loss.js';
import { expectClose } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { makeTokenizer, picture, table } from './tokenizer.js';

describe.each(table)('%j', (fields) => {
  it('encodes a picture as the clip of equal frames, and decodes the first frame of one', async () => {
    const { config, weights, tokenizer } = await makeTokenizer(fields);
    const factor = config.temporal_downsample_factor;
    const side = 2 ** (config.ch_mult.length - 1);
    const image = picture(2, 1, 3 * side, 2 * side + 1);
    const frame = image.data.length / 2;
    const repeated = new Float32Array(image.data.length * factor);
    for (let index = 0; index < 2 * factor; index++) {
      const source = Math.floor(index / factor) * frame;
      repeated.set(image.data.subarray(source, source + frame), index * frame);
    }
    const encoded = await tokenizer.encode(image);
    const clip = await tokenizer.encode({ ...image, frames: factor, data: repeated });
    expect([encoded.frames, encoded.height, encoded.width]).toEqual([1, 3, 2]);
    expectClose(encoded.latent, clip.latent, { absolute: 1e-4 }, 'latent');
    expect(encoded.codes).toEqual(clip.codes);
    const first = await tokenizer.decode(encoded, true);
    const whole = await tokenizer.decode(encoded, false);
    expect([first.frames, whole.frames, first.height, first.width]).toEqual([1, factor, 3 * side, 2 * side]);
    const size = first.data.length / 2;
    for (const row of [0, 1]) {
      const expected = whole.data.subarray(row * factor * size, (row * factor + 1) * size);
      expectClose(first.data.subarray(row * size, (row + 1) * size), expected, { absolute: 1e-4 }, `picture ${row}`);
    }
    await tokenizer.destroy();
    weights.destroy();
  });

  it('takes a clip in passes of a few frames to what it gives in one', async () => {
    const { config, weights, tokenizer } = await makeTokenizer(fields);
    const factor = config.temporal_downsample_factor;
    const side = 2 ** (config.ch_mult.length - 1);
    const clip = picture(2, 3 * factor, 2 * side, 3 * side);
    const whole = await tokenizer.encode(clip);
    const pixels = await tokenizer.decode(whole, false);
    const device = await testDevice();
    // Five frames a pass, so that the last pass is not full.
    const frameBytes = 4 * clip.height * clip.width * config.ch;
    const passes = new ClipPasses(device, config, weights, bandLimits(device), 5 * frameBytes);
    const done: number[] = [];
    const encoded = await passes.encode(clip, { onFrames: (count) => done.push(count) });
    expect(done.length).toBe(Math.ceil((6 * factor) / 5));
    expect(done.at(-1)).toBe(6 * factor);
    expect([encoded.frames, encoded.height, encoded.width]).toEqual([3, 2, 3]);
    expectClose(encoded.latent, whole.latent, { absolute: 1e-4 }, 'latent');
    expect(encoded.codes).toEqual(whole.codes);
    const decoded = await passes.decode(whole, {});
    expect([decoded.frames, decoded.height, decoded.width]).toEqual([3 * factor, 2 * side, 3 * side]);
    expectClose(decoded.data, pixels.data, { absolute: 1e-4 }, 'pixels');
    // No frame depends on a later one.
    const first = whole.codes.slice(0, 6);
    const alone = await passes.decode({ batch: 1, frames: 1, height: 2, width: 3, codes: first }, {});
    expectClose(alone.data, decoded.data.subarray(0, alone.data.length), { absolute: 1e-4 }, 'first frames');
    const aborted = passes.encode(clip, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
    await passes.destroy();
    await tokenizer.destroy();
    weights.destroy();
  });

  it('gives each picture of a batch what it gets alone', async () => {
    const { config, weights, tokenizer } = await makeTokenizer(fields);
    const side = 2 ** config.ch_mult.length;
    const both = picture(2, 1, side, side);
    const encoded = await tokenizer.encode(both);
    const alone = await tokenizer.encode({ ...both, batch: 1, data: both.data.slice(both.data.length / 2) });
    expectClose(encoded.latent.slice(alone.latent.length), alone.latent, { absolute: 1e-5 }, 'latent');
    await tokenizer.destroy();
    weights.destroy();
  });

  it('reaches every parameter with the gradient of its loss', async () => {
    const { config, weights } = await makeTokenizer(fields);
    const device = await testDevice();
    const side = 2 ** config.ch_mult.length;
    const clip = picture(1, config.temporal_downsample_factor, side, side);
    const shape = [1, clip.frames, side, side, 3];
    const input = GpuTensor.from(device, shape, 'f32', clip.data, 'pixels');
    const graph = new Graph(device.traits);
    const context = { graph, ...weights.bind(graph), batchStatistics: true };
    const { total } = visionLoss(context, config, graph.bind(input));
    accumulateGradients(graph, weights.parameters, total);
    const program = await Program.compile(device, graph, { label: 'vision loss', outputs: [total] });
    const before = await weights.read('encoder.time_res_stack.0.norm1.running_mean');
    program.run();
    const [loss] = await program.output(total).readFloat32();
    expect(loss).toBeGreaterThan(0);
    for (const name of weights.parameters.shapes.keys()) {
      // A bias can have no effect: the next norm or softmax cancels it.
      if (name.endsWith('.bias')) continue;
      const gradient = await weights.parameters.gradient(name).readFloat32();
      expect(gradient.every(Number.isFinite), name).toBe(true);
      expect(
        gradient.some((value) => value !== 0),
        name,
      ).toBe(true);
    }
    const after = await weights.read('encoder.time_res_stack.0.norm1.running_mean');
    expect(after).not.toEqual(before);
    program.destroy();
    input.destroy();
    weights.destroy();
  });
});

it('refuses pictures below a token, short clips, and codes that do not fit', async () => {
  const { weights, tokenizer } = await makeTokenizer(table[2]);
  await expect(tokenizer.encode(picture(1, 1, 7, 8))).rejects.toMatchObject({ code: 'image' });
  await expect(tokenizer.encode(picture(1, 3, 8, 8))).rejects.toMatchObject({ code: 'image' });
  await expect(tokenizer.encode({ ...picture(1, 1, 8, 8), width: 9 })).rejects.toMatchObject({ code: 'image' });
  const grid = { batch: 1, frames: 1, height: 1, width: 2 };
  await expect(tokenizer.decode({ ...grid, codes: Uint32Array.of(1) }, true)).rejects.toMatchObject({ code: 'image' });
  await expect(tokenizer.decode({ ...grid, codes: Uint32Array.of(1, 100) }, true)).rejects.toMatchObject({
    code: 'token',
  });
  weights.destroy();
});
