import { VisionTokenizer, VisionWeights, type BandLimits, type PixelClip } from '../../engine/models/vision/index.js';
import { parseVisionConfig, visionTensorShapes, type Emu3VisionVQConfig } from '../../loader/index.js';
import { pseudoRandom } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';

/** Depths, widths and factors that no recording here has. */
export const table: Record<string, unknown>[] = [
  { ch: 32, ch_mult: [1, 1], num_res_blocks: 1, attn_resolutions: [1], codebook_size: 37 },
  {
    ch: 32,
    ch_mult: [1, 2, 1],
    num_res_blocks: 3,
    attn_resolutions: [0, 2],
    codebook_size: 64,
    embed_dim: 8,
    z_channels: 8,
  },
  { ch: 64, ch_mult: [1, 1, 1, 1], num_res_blocks: 1, attn_resolutions: [], codebook_size: 100 },
  {
    ch: 32,
    ch_mult: [1, 1],
    num_res_blocks: 1,
    attn_resolutions: [1],
    codebook_size: 50,
    temporal_downsample_factor: 2,
  },
];

/** A tokenizer with random weights. */
export async function makeTokenizer(
  fields: Record<string, unknown>,
  limits: Partial<BandLimits> = {},
): Promise<{
  config: Emu3VisionVQConfig;
  weights: VisionWeights;
  tokenizer: VisionTokenizer;
}> {
  const device = await testDevice();
  const config = parseVisionConfig(JSON.stringify(fields), 'test');
  const weights = VisionWeights.create(device, visionTensorShapes(config), { training: true });
  let seed = 1;
  for (const name of weights.names) {
    const { shape } = weights.tensor(name);
    const count = shape.reduce((product, size) => product * size, 1);
    const isScale = /norm.*\.weight$|running_var$/.test(name) && shape.length === 1;
    const width = shape.length === 1 ? 0.2 : name.includes('embedding') ? 1 : 1.5 / Math.sqrt(count / shape[0]);
    weights.write(
      name,
      pseudoRandom(count, seed++).map((value) => value * width + (isScale ? 1 : 0)),
    );
  }
  return { config, weights, tokenizer: new VisionTokenizer(device, config, weights, limits) };
}

export function picture(batch: number, frames: number, height: number, width: number): PixelClip {
  return { batch, frames, height, width, data: pseudoRandom(batch * frames * height * width * 3, 5) };
}
