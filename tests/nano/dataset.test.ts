import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { augment } from '../../demos/nano/data/augment.js';
import { hasIcon, renderIcon } from '../../demos/nano/data/artwork.node.js';
import { canonicalCaption } from '../../demos/nano/data/captions.js';
import { CONCEPTS } from '../../demos/nano/data/concepts.js';
import { loadEmojiDataset, tokenizerTrainingImages } from '../../demos/nano/data/dataset.node.js';
import type { EmojiDataset } from '../../demos/nano/data/dataset.node.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { pictureDistance, pictureFeatures } from '../../demos/nano/check/features.js';

let dataset: EmojiDataset;
beforeAll(async () => {
  dataset = await loadEmojiDataset();
});

describe('the emoji data set', () => {
  it('has 256 concepts or more, each once in both styles', () => {
    expect(dataset.concepts.length).toBeGreaterThanOrEqual(256);
    expect(dataset.concepts.length).toBeLessThanOrEqual(320);
    expect(dataset.items.length).toBe(2 * dataset.concepts.length);
    expect(new Set(dataset.items.map((item) => item.id)).size).toBe(dataset.items.length);
    expect(new Set(dataset.concepts.map((concept) => concept.name)).size).toBe(dataset.concepts.length);
    for (const { icon } of CONCEPTS)
      expect([icon, hasIcon('fluent', icon), hasIcon('noto', icon)]).toEqual([icon, true, true]);
  });

  it('lists the same items, splits and captions on every machine', () => {
    const listing = dataset.items.map(({ id, phrase, split, captions }) => [id, phrase, split, ...captions].join('|'));
    const digest = createHash('sha256').update(listing.join('\n')).digest('hex');
    expect(digest).toBe('e69cfc513f72efde67205bb049a11d498c96e7767f71d274523803a57456d5f0');
  });

  it('holds out a tenth of the pictures, the styles alike, every concept trained on in the other style', () => {
    const heldOut = dataset.items.filter((item) => item.split === 'heldout');
    expect(heldOut.length / dataset.items.length).toBeCloseTo(0.1, 2);
    expect(heldOut.filter((item) => item.style === 'noto').length * 2).toBe(heldOut.length);
    const trained = new Set(dataset.items.filter((item) => item.split === 'train').map((item) => item.concept));
    expect(heldOut.filter((item) => !trained.has(item.concept))).toEqual([]);
  });

  it('keeps every held-out picture away from the tokenizer, by name and by bytes', () => {
    const heldOut = [...dataset.items.filter((item) => item.split === 'heldout'), ...dataset.tokenizerHeldout];
    const training = new Set(dataset.tokenizerTraining.map((item) => item.id));
    const bytes = new Set(dataset.tokenizerTraining.map((item) => Buffer.from(item.rgb).toString('base64')));
    expect(training.size).toBe(dataset.tokenizerTraining.length);
    for (const item of heldOut) {
      expect([item.id, training.has(item.id)]).toEqual([item.id, false]);
      expect([item.id, bytes.has(Buffer.from(item.rgb).toString('base64'))]).toEqual([item.id, false]);
    }
  });

  it('has enough artwork for the tokenizer, held-out concepts apart from those of the items', async () => {
    expect(dataset.tokenizerTraining.length).toBeGreaterThan(1500);
    expect(await tokenizerTrainingImages()).toHaveLength(dataset.tokenizerTraining.length);
    expect(dataset.tokenizerHeldout.length).toBeGreaterThanOrEqual(100);
    const items = new Set(dataset.items.map((item) => item.id));
    expect(dataset.tokenizerHeldout.filter((item) => items.has(item.id))).toEqual([]);
    const trained = new Set(dataset.tokenizerTraining.map((item) => item.id));
    expect(dataset.items.filter((item) => item.split === 'train' && !trained.has(item.id))).toEqual([]);
  });

  it('draws every picture on white, with something on it', () => {
    for (const { id, rgb } of [...dataset.items, ...dataset.tokenizerHeldout]) {
      expect([id, rgb.length]).toEqual([id, 64 * 64 * 3]);
      const darkest = rgb.reduce((least, value) => Math.min(least, value), 255);
      const coloured = rgb.reduce((count, value) => count + Number(value < 250), 0) / rgb.length;
      expect([id, darkest < 230, coloured > 0.03]).toEqual([id, true, true]);
    }
  });

  it('has no two concepts that look alike in either style', () => {
    for (const style of ['fluent', 'noto']) {
      const pictures = dataset.items
        .filter((item) => item.style === style)
        .map((item) => ({ id: item.id, features: pictureFeatures(item.rgb) }));
      for (const [index, first] of pictures.entries()) {
        for (const second of pictures.slice(index + 1)) {
          const distance = pictureDistance(first.features, second.features, 0);
          if (distance < 0.12) expect.fail(`${first.id} and ${second.id} look alike: ${distance}`);
        }
      }
    }
  });

  it('names an icon that is not there', async () => {
    await expect(renderIcon('noto', 'no-such-icon')).rejects.toMatchObject({ code: 'missing' });
  });
});

describe('captions', () => {
  it('begin with the canonical form and repeat none', () => {
    for (const { phrase, style, captions } of dataset.items) {
      expect(captions[0]).toBe(canonicalCaption(phrase, style));
      expect(new Set(captions).size).toBe(captions.length);
      expect(captions.length).toBeGreaterThanOrEqual(6);
      for (const caption of captions) expect(caption).toMatch(new RegExp(`^[A-Za-z' ,-]*\\b${style}\\b[A-Za-z' ,-]*$`));
    }
  });

  it('take the right article', () => {
    const phrases = new Set(dataset.items.map((item) => item.phrase));
    for (const phrase of ['an owl', 'a unicorn face', 'an hourglass', 'french fries', 'cherries', 'a tiger face']) {
      expect([phrase, phrases.has(phrase)]).toEqual([phrase, true]);
    }
    for (const phrase of phrases) expect(phrase).not.toMatch(/^a [aeio]|^an [^aeiouhA]/);
  });
});

describe('augment', () => {
  it('repeats itself from the same state and leaves the original alone', () => {
    const rgb = dataset.items[0]?.rgb ?? new Uint8Array();
    const before = rgb.slice();
    const random = new SeededRandom(5);
    random.next();
    const resumed = new SeededRandom(random.save());
    const first = augment(rgb, random);
    expect(augment(rgb, resumed)).toEqual(first);
    expect(first).not.toEqual(rgb);
    expect(rgb).toEqual(before);
  });

  it('moves by whole pixels when told to do only that', () => {
    const plain = { flipProbability: 0, backgroundProbability: 0, jitterProbability: 0, jitter: 0 };
    const rgb = new Uint8Array(64 * 64 * 3).fill(255);
    rgb.set([1, 2, 3], (30 * 64 + 30) * 3);
    const random = new SeededRandom(11);
    const seen = new Set<string>();
    for (let draw = 0; draw < 300; draw++) {
      const moved = augment(rgb, random, { ...plain, maximumShift: 1 });
      const at = moved.indexOf(1) / 3;
      seen.add(`${Math.floor(at / 64) - 30},${(at % 64) - 30}`);
      expect([...moved.subarray(at * 3, at * 3 + 3)]).toEqual([1, 2, 3]);
    }
    expect([...seen].sort()).toEqual(['-1,-1', '-1,0', '-1,1', '0,-1', '0,0', '0,1', '1,-1', '1,0', '1,1']);
    expect(() => augment(new Uint8Array(7), random)).toThrow(expect.objectContaining({ code: 'shape' }));
  });
});

describe('SeededRandom', () => {
  it('is uniform, normal and a permutation where it says so', () => {
    const random = new SeededRandom(1);
    const draws = Array.from({ length: 20000 }, () => random.next());
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    expect(draws.reduce((sum, value) => sum + value, 0) / draws.length).toBeCloseTo(0.5, 2);
    const normals = Array.from({ length: 20000 }, () => random.normal());
    expect(normals.reduce((sum, value) => sum + value, 0) / normals.length).toBeCloseTo(0, 1);
    expect(normals.reduce((sum, value) => sum + value * value, 0) / normals.length).toBeCloseTo(1, 1);
    const order = random.shuffled([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(order).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...order].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});
