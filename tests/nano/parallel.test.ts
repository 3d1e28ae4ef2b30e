import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diskFolder } from '../../loader/index.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { exactWindows } from '../../loader/pipeline/load-options.js';
import { testDevice } from '../support/gpu.js';

const folder = diskFolder(fileURLToPath(new URL('../../demos/nano/model', import.meta.url)));
const prompts = ['a red apple', 'two blue cars', 'a dog left of a star', 'a green fish and a purple heart'];

/** Pictures of so many seeds, side by side in tens. */
const seeds = 100;
const perBatch = 10;

/** Four minutes are not too long on an adapter without subgroups. */
const timeout = 1_200_000;

let plain: Emu3;
let parallel: Emu3;

beforeAll(async () => {
  const device = await testDevice();
  plain = await Emu3.load({ device, folder });
  parallel = await Emu3.load({ device, folder, windows: exactWindows });
});
afterAll(async () => {
  await plain.destroy();
  await parallel.destroy();
});

describe('the shipped model with several tokens a step', () => {
  const draws = async (guidance: number): Promise<void> => {
    for (let first = 0; first < seeds; first += perBatch) {
      const requests = Array.from({ length: perBatch }, (_, index) => {
        const seed = first + index;
        return { prompt: prompts[seed % prompts.length], seed, guidance, temperature: 1, topP: 1, topK: 1000 };
      });
      const expected = await plain.generateBatch(requests);
      const actual = await parallel.generateBatch(requests);
      actual.forEach(({ ids }, index) => expect([...ids], `seed ${first + index}`).toEqual([...expected[index].ids]));
    }
  };
  it.each([1, 2])('draws the same ids for 100 seeds, guidance %i', draws, timeout);
});
