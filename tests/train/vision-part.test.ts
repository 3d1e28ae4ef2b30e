import { describe, expect, it } from 'vitest';
import { initialVisionTensor } from '../../demos/nano/train/initialise.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import type { Device } from '../../engine/device.js';
import { Graph, Program } from '../../engine/graph/index.js';
import { encode, VisionTokenizer, VisionWeights } from '../../engine/models/vision/index.js';
import { keep } from '../../engine/ops/slice.js';
import { GpuTensor } from '../../engine/tensor.js';
import { VisionPartTrainer, type VisionPart, type VisionPartBatch } from '../../engine/train/vision-part-trainer.js';
import { visionTensorShapes, type Emu3VisionVQConfig } from '../../loader/index.js';
import { tinyVision } from '../cli/support.js';
import { pseudoRandom, testDevice } from '../support/kernel.js';

const config: Emu3VisionVQConfig = { ...tinyVision, ch_mult: [1, 1], attn_resolutions: [1] };
const [picture, clip] = [
  { batch: 2, frames: 1, height: 8, width: 8 },
  { batch: 1, frames: 12, height: 8, width: 8 },
];

const temperature = 0.1;
const parts: readonly VisionPart[] = [{ part: 'decoder' }, { part: 'encoder', temperature }];

interface Trained {
  device: Device;
  trainer: VisionPartTrainer;
  weights: VisionWeights;
}

async function newTrainer(trained: VisionPart): Promise<Trained> {
  const device = await testDevice();
  const shapes = visionTensorShapes(config);
  const weights = VisionWeights.create(device, shapes, { training: true });
  const random = new SeededRandom(2);
  for (const name of weights.names) weights.write(name, initialVisionTensor(name, shapes.get(name) ?? [], random));
  // Running statistics as pictures would leave them, unlike those of any batch here.
  for (const name of weights.statistics.shapes.keys()) {
    const values = pseudoRandom(shapes.get(name)?.[0] ?? 0, 7);
    weights.write(name, name.endsWith('running_var') ? values.map((value) => 1 + value ** 2) : values);
  }
  const trainer = await VisionPartTrainer.create(device, config, weights, {
    trained,
    shapes: [picture, clip],
    schedule: { kind: 'constant', peak: 3e-3 },
    maximumNorm: 1,
  });
  return { device, trainer, weights };
}

function batchOf(shape: 0 | 1): VisionPartBatch {
  const { batch, frames } = [picture, clip][shape];
  const codes = Uint32Array.from({ length: batch * Math.ceil(frames / 4) * 16 }, (_, at) => (at * 29) % 64);
  const pixels = pseudoRandom(batch * frames * 8 * 8 * 3, 3 + shape).map((value) => Math.sign(value) * 0.8);
  return { shape, codes, pixels };
}

async function valuesOf(weights: VisionWeights): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const name of weights.names) values.set(name, await weights.read(name));
  return values;
}

describe.each(parts)('training the $part of a vision tokenizer alone', (trained) => {
  it('learns pictures and clips, and creates nothing per step', async () => {
    const { device, trainer, weights } = await newTrainer(trained);
    const batches = [batchOf(0), batchOf(1)];
    const losses: number[] = [];
    let before = { ...device.counters };
    for (let step = 0; step < 60; step++) {
      trainer.train(batches[step % 2]);
      if (step === 1) before = { ...device.counters };
      if (step < 2 || step > 57) losses.push((await trainer.metrics()).loss);
    }
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(losses[2]).toBeLessThan(0.9 * losses[0]);
    expect(losses[3]).toBeLessThan(0.9 * losses[1]);
    expect(await trainer.metrics()).toMatchObject({ step: 60, skippedSteps: 0 });
    trainer.destroy();
    weights.destroy();
  });

  it('leaves to the bit the codebook, the other part and the running statistics', async () => {
    const { trainer, weights } = await newTrainer(trained);
    const before = await valuesOf(weights);
    for (const shape of [0, 1, 0, 1] as const) trainer.train(batchOf(shape));
    await trainer.metrics();
    const ofPart = { decoder: /^(decoder|post_quant_conv)\./, encoder: /^(encoder|quant_conv)\./ }[trained.part];
    for (const [name, values] of await valuesOf(weights)) {
      const isTrained = ofPart.test(name) && weights.parameters.shapes.has(name);
      if (!isTrained) expect(values, name).toEqual(before.get(name));
      else expect(values, name).not.toEqual(before.get(name));
    }
    trainer.destroy();
    weights.destroy();
  });

  it('refuses codes beyond the codebook, and is as it was', async () => {
    const { trainer, weights } = await newTrainer(trained);
    const before = await valuesOf(weights);
    for (const beyond of [config.codebook_size, 2 ** 32 - 1]) {
      const { codes, ...batch } = batchOf(0);
      codes[5] = beyond;
      const training = (): void => trainer.train({ ...batch, codes });
      expect(training).toThrow(expect.objectContaining({ code: 'token' }));
      expect(training).toThrow(`Code ${beyond} at 5`);
    }
    expect(trainer.step).toBe(0);
    expect(await valuesOf(weights)).toEqual(before);
    trainer.destroy();
    weights.destroy();
  });

  it('refuses batches of no shape that it has, and shapes that are no whole number of tokens', async () => {
    const { device, trainer, weights } = await newTrainer(trained);
    const { codes, pixels } = batchOf(0);
    const fails = (batch: VisionPartBatch): void => {
      expect(() => trainer.train(batch)).toThrow(expect.objectContaining({ code: 'shape' }));
    };
    fails({ shape: 0, codes: codes.subarray(1), pixels });
    fails({ shape: 0, codes, pixels: pixels.subarray(3) });
    fails({ shape: 2, codes, pixels });
    fails({ ...batchOf(1), shape: -1 });
    const odd = VisionPartTrainer.create(device, config, weights, {
      trained,
      shapes: [{ ...clip, frames: 6 }],
      schedule: { kind: 'constant', peak: 1e-3 },
    });
    await expect(odd).rejects.toMatchObject({ code: 'shape' });
    trainer.destroy();
    weights.destroy();
  });
});

describe.each([0, 1] as const)('the loss of shape %i', (shape) => {
  it('of a decoder is the error of the pixels that the tokenizer decodes', async () => {
    const { device, trainer, weights } = await newTrainer({ part: 'decoder' });
    const { codes, pixels } = batchOf(shape);
    const { batch, frames } = [picture, clip][shape];
    const tokenizer = new VisionTokenizer(device, config, weights);
    const place = { batch, frames: Math.ceil(frames / 4), height: 4, width: 4, codes };
    const decoded = await tokenizer.decode(place, shape === 0);
    const error = decoded.data.reduce((sum, value, at) => sum + (value - pixels[at]) ** 2, 0) / pixels.length;
    trainer.train({ shape, codes, pixels });
    expect((await trainer.metrics()).loss).toBeCloseTo(error, 5);
    await tokenizer.destroy();
    trainer.destroy();
    weights.destroy();
  });

  it('of an encoder is the cross-entropy by the distances of its latents to the codes', async () => {
    const { device, trainer, weights } = await newTrainer({ part: 'encoder', temperature });
    const { codes, pixels } = batchOf(shape);
    const codebook = await weights.read('quantize.embedding.weight');
    const latents = await latentsOf(device, weights, shape, pixels);
    const dimension = config.embed_dim;
    const losses = [...codes].map((code, row) => {
      const latent = latents.subarray(row * dimension, (row + 1) * dimension);
      const logits = Array.from({ length: config.codebook_size }, (_, other) => {
        const entry = codebook.subarray(other * dimension, (other + 1) * dimension);
        return -latent.reduce((sum, value, at) => sum + (value - entry[at]) ** 2, 0) / temperature;
      });
      const highest = Math.max(...logits);
      return highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0)) - logits[code];
    });
    trainer.train({ shape, codes, pixels });
    const expected = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    expect((await trainer.metrics()).loss / expected).toBeCloseTo(1, 4);
    trainer.destroy();
    weights.destroy();
  });
});

describe('a trained encoder', () => {
  it('gives the codes that it learned', async () => {
    const { device, trainer, weights } = await newTrainer({ part: 'encoder', temperature });
    const batch = batchOf(1);
    for (let step = 0; step < 200; step++) trainer.train(batch);
    const tokenizer = new VisionTokenizer(device, config, weights);
    const { codes } = await tokenizer.encode({ data: batch.pixels, ...clip });
    expect(codes.filter((code, at) => code === batch.codes[at]).length).toBeGreaterThan(0.9 * codes.length);
    await tokenizer.destroy();
    trainer.destroy();
    weights.destroy();
  });

  it.each([0, -1, Number.NaN, Infinity])('needs a temperature above 0, not %d', async (impossible) => {
    const trained = newTrainer({ part: 'encoder', temperature: impossible });
    await expect(trained).rejects.toMatchObject({ code: 'argument' });
  });
});

/** What the encoder gives before quantisation, [positions, embed_dim]. */
async function latentsOf(
  device: Device,
  weights: VisionWeights,
  shape: 0 | 1,
  pixels: Float32Array,
): Promise<Float32Array> {
  const { batch, frames, height, width } = [picture, clip][shape];
  const bound = GpuTensor.from(device, [batch, frames, height, width, 3], 'f32', pixels, 'pixels');
  const graph = new Graph(device.traits);
  const { latent } = encode({ graph, ...weights.bind(graph), batchStatistics: false }, config, graph.bind(bound));
  const out = GpuTensor.create(device, latent.shape, 'f32', 'latents');
  keep(graph, graph.bind(out), latent);
  (await Program.compile(device, graph, { label: 'latents' })).run();
  return out.readFloat32();
}
