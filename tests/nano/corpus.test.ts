import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VisionTokenizer, VisionWeights } from '../../engine/models/vision/index.js';
import { canonicalTable, composedCodes } from '../../demos/nano/train/canonical.js';
import { corpusMaker, keepVotes } from '../../demos/nano/train/corpus.node.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import { diskFolder, loadVisionTokenizer } from '../../loader/index.node.js';
import { testDevice } from '../support/gpu.js';

const model = fileURLToPath(new URL('../../demos/nano/model/vision_tokenizer', import.meta.url));

let folder: string;
let made: { tokenizer: VisionTokenizer; weights: VisionWeights; artwork: Artwork };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'corpus-'));
  made = { ...(await loadVisionTokenizer(await testDevice(), diskFolder(model))), artwork: await Artwork.load() };
});
afterAll(async () => {
  await made.tokenizer.destroy();
  await rm(folder, { recursive: true });
});

/** Makes corpora with the tokenizer of a folder, and notes what it is told. */
async function maker(votesIn: string, told: string[] = []): ReturnType<typeof corpusMaker> {
  const onPreparing = (what: string): void => void told.push(what);
  return corpusMaker(made, { seed: 3, cache: join(folder, 'cache'), folder: votesIn, onPreparing });
}

describe('a corpus', () => {
  it('is encoded once, and read from the cache after that', async () => {
    const told: string[] = [];
    const first = await (await maker(folder, told))('stills', 5);
    expect(told).toEqual(['5 of 5 stills']);
    const again = await (await maker(folder, told))('stills', 5);
    expect(told).toHaveLength(1);
    expect(again).toEqual(first);
    expect(first[0]).toMatchObject({ side: 8, latentFrames: 1, from: 0, votes: undefined });
    const codes = new Set(first.flatMap((item) => [...item.codes]));
    expect(codes.size).toBeGreaterThan(10);
  });

  it('goes by the votes kept with the tokenizer where canonical codes are chosen, and by its own codes else', async () => {
    const corpusOf = await maker(folder);
    const [stills, shots] = [await corpusOf('stills', 5), await corpusOf('shots', 4)];
    const voted = stills.map((item) => ({ ...item, votes: item.codes.map((code) => (code + 1) % 192) }));
    const product = await mkdtemp(join(folder, 'product-'));
    await keepVotes(product, { stills: voted, shots });
    expect((await readdir(product)).sort()).toEqual(['votes-shots.codes', 'votes-stills.codes']);

    const told: string[] = [];
    const reread = await maker(product, told);
    const items = await reread('stills', 3);
    expect(items).toEqual(voted.slice(0, 3));
    const table = canonicalTable({ stills: items });
    const ownTable = canonicalTable({ stills: stills.slice(0, 3) });
    expect(table.size).toBe(ownTable.size);
    expect(composedCodes(items[0], table)).not.toEqual(composedCodes(items[0], ownTable));
    // Shots vote and do nothing else, so that none is encoded.
    const kept = await reread('shots', 4);
    expect(kept.map(({ codes }) => codes)).toEqual(shots.map(({ codes }) => codes));
    expect(told.filter((what) => what.includes('shots'))).toEqual([]);
    // What was voted by once is voted by again.
    const next = await mkdtemp(join(folder, 'next-'));
    await keepVotes(next, { stills: items, shots: kept });
    expect((await (await maker(next))('stills', 3)).map(({ votes }) => votes)).toEqual(items.map(({ votes }) => votes));

    await expect(reread('stills', 6)).rejects.toMatchObject({
      code: 'format',
      where: join(product, 'votes-stills.codes'),
    });
  });
});
