import type { Device } from '../../engine/device.js';
import { Decoder, type AllowedRange } from '../../engine/decode/index.js';
import type { Workload } from '../run-workloads.js';
import { firstVisionId, type NanoModel } from './nano.js';
import { pictureDecoder } from './vision.js';

/** Tokens of a caption with its frame, and of the empty caption that guidance steers away from: one chunk of prefill. */
const promptLength = 24;
const negativeLength = 12;
const side = 8;

/** Pictures of 8 x 8 tokens by guided sampling, from prompt ids to pixels on the host. */
export async function decodeWorkload(device: Device, model: NanoModel, pictures: number): Promise<Workload> {
  const { config, parameters } = model;
  const first = firstVisionId(model);
  const vision: AllowedRange = [first, config.vocab_size];
  const endOfLine: AllowedRange = [config.eol_token_id, config.eol_token_id + 1];
  const line: AllowedRange[] = [...new Array<AllowedRange>(side).fill(vision), endOfLine];
  const allowed = Array.from({ length: side }, () => line).flat();
  const newTokens = allowed.length;
  const decoder = await Decoder.create(device, config, parameters, {
    sequences: pictures,
    guided: true,
    capacity: promptLength + newTokens,
    slice: { first, count: config.vocab_size - first },
  });
  const pixels = await pictureDecoder(device, model, pictures);
  const ids = (length: number, seed: number): Uint32Array =>
    Uint32Array.from({ length }, (_, index) => (index * 31 + seed * 17) % first);
  const sequences = Array.from({ length: pictures }, (_, index) => ({
    prompt: ids(promptLength, index),
    negativePrompt: ids(negativeLength, 0),
    sampling: { seed: index, temperature: 1, topK: 64, guidance: 3 },
    allowed,
  }));
  const run = async (): Promise<void> => {
    const codes = new Uint32Array(pictures * side * side);
    for await (const block of decoder.decode({ sequences, newTokens, blockSteps: side + 1 })) {
      const row = block.firstStep / (side + 1);
      block.ids.forEach((sampled, picture) => {
        codes.set(
          sampled.subarray(0, side).map((id) => id - first),
          (picture * side + row) * side,
        );
      });
    }
    await pixels.convert(codes);
  };
  return {
    section: 'decode',
    name: `${pictures} guided ${pictures === 1 ? 'picture' : 'pictures'}, prompt to pixels`,
    products: [
      { unit: 'pictures', count: pictures },
      { unit: 'tokens', count: pictures * newTokens },
    ],
    programs: [
      { program: decoder.prefill, runs: 1 },
      { program: decoder.step, runs: newTokens },
      { program: pixels.program, runs: 1 },
    ],
    run,
    destroy: async () => {
      decoder.destroy();
      pixels.destroy();
    },
  };
}
