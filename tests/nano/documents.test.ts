import { describe, expect, it } from 'vitest';
import { corpusScene, type CorpusKind, type TokenizedScene } from '../../demos/nano/train/corpus.node.js';
import { DocumentStream, documentKinds, type Corpora, type DocumentKind } from '../../demos/nano/train/documents.js';
import { fullCaption } from '../../demos/nano/world/captions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { isHeldOut } from '../../demos/nano/world/scene.js';
import { backgrounds, nouns } from '../../demos/nano/world/words.js';
import { ignoredTarget, type PackedBatch } from '../../engine/train/packing.js';
import { buildTokenizerJson, textTokenizerFromJson } from '../../tokenizer/index.js';

const codebook = 32;
const { json, special } = buildTokenizerJson(['a red car moves right. is there an apple? ASSISTANT: yes'], {
  vocabularySize: 340 + codebook,
  visualCount: codebook,
});
const text = textTokenizerFromJson(json);
const shape = { batch: 2, length: 900 };

/** A tokenizer that has a token for each word, as the nano model's has. */
const wordTokenizer = textTokenizerFromJson(
  buildTokenizerJson(
    Array.from({ length: 40 }, (_, index) => `${fullCaption(corpusScene('stills', 9, index))}, yes, one?`),
    { vocabularySize: 900 + codebook, visualCount: codebook },
  ).json,
);

/** Scenes with made-up codes: what stands in documents does not depend on what codes look like. */
function corpus(kind: CorpusKind, side: number, latentFrames: number): TokenizedScene[] {
  const grid = (seed: number): Uint16Array =>
    Uint16Array.from({ length: latentFrames * side * side }, (_, at) => (at + seed) % codebook);
  return Array.from({ length: 12 }, (_, index) => ({
    scene: corpusScene(kind, 9, index),
    codes: grid(index),
    canonical: grid(index + 100),
    latentFrames,
    side,
  }));
}

const corpora: Corpora = {
  stills: corpus('stills', 4, 1),
  'large stills': corpus('large stills', 6, 1),
  clips: corpus('clips', 4, 3),
};

const plain = {
  captionDropout: 0,
  fullCaptions: 0,
  contextNoise: { share: 0, highest: 0 },
  strangers: 0,
  beginWeight: 1,
  textWeight: 0.25,
  questions: 2,
  answerWeight: 1,
  conclusionWeight: 1,
  letters: 0,
};

function streamOf(kinds: readonly DocumentKind[], options: object = {}, random = 11): DocumentStream {
  const mixture = Object.fromEntries(kinds.map((kind) => [kind, 1]));
  return new DocumentStream(corpora, text, { ...plain, ...options, mixture }, { random, waiting: [] });
}

/** Learned targets of a batch: how many are visual tokens, how many not. */
function learned({ targets }: PackedBatch): { visual: number; other: number } {
  const count = { visual: 0, other: 0 };
  for (const target of targets) {
    if (target === ignoredTarget) continue;
    if (target >= special.visualStart) count.visual += 1;
    else count.other += 1;
  }
  return count;
}

describe('training documents', () => {
  it('teach what their kind says: drawings their codes, readings their words', () => {
    for (const kind of documentKinds) {
      const batch = streamOf([kind]).nextBatch(shape);
      expect(batch.documents, kind).toBeGreaterThan(1);
      const { visual, other } = learned(batch);
      expect(other, kind).toBeGreaterThan(0);
      if (kind === 'draw' || kind === 'draw large' || kind === 'film') expect(visual, kind).toBeGreaterThan(0);
      else expect(visual, kind).toBe(0);
    }
  });

  it('pass over what fits no sequence', () => {
    const short = { batch: 2, length: 60 };
    const batch = streamOf(['draw', 'film']).nextBatch(short);
    expect(batch.documents).toBeGreaterThan(0);
    expect(() => streamOf(['film']).nextBatch({ batch: 2, length: 30 })).toThrow('longer than the 30');
  });

  it('answer with what is seen first, and write captions out in full without a picture', () => {
    const textOf = (kind: DocumentKind): string[] => {
      const { ids, positions, targets } = streamOf([kind]).nextBatch(shape);
      // Padding stands at position 0 throughout.
      const starts = Array.from(positions.keys()).filter((at) => positions[at] === 0 && positions[at + 1] === 1);
      return starts.map((start, index) => {
        const learned = Array.from(targets.slice(start, starts[index + 1])).filter((id) => id !== ignoredTarget);
        const read = Array.from(ids.slice(start, starts[index + 1]));
        expect(
          read.some((id) => id >= special.visualStart),
          kind,
        ).toBe(kind.startsWith('ask'));
        return text.decode(learned.filter((id) => id < special.visualStart));
      });
    };
    const answers = textOf('ask').filter((words) => words.trim() !== '');
    expect(answers.length).toBeGreaterThan(3);
    for (const words of answers) expect(words).toMatch(/^ (an? .+ at the (top|bottom) .+: |(white|pink|gray|mint))/);
    expect(textOf('ask clip').join(' ')).toMatch(/(stands still|slowly|quickly): /);
    for (const kind of ['rewrite', 'rewrite clip'] as const) {
      const full = textOf(kind).filter((words) => words.trim() !== '');
      expect(full.length).toBeGreaterThan(3);
      for (const words of full) expect(words).toMatch(/^ an? .+, \w+ background, \w+ style/);
    }
  });

  it('learn of conclusions the marks beside the things and what stands behind them, not the things', () => {
    for (const kind of ['conclude', 'conclude clip'] as const) {
      const stream = new DocumentStream(
        corpora,
        wordTokenizer,
        { ...plain, mixture: { [kind]: 1 } },
        { random: 11, waiting: [] },
      );
      const { ids, targets } = stream.nextBatch(shape);
      expect(ids.every((id) => id < wordTokenizer.special.visualStart)).toBe(true);
      const read = wordTokenizer.decode(Array.from(ids));
      const said = wordTokenizer.decode(
        Array.from(targets).filter((id) => id !== ignoredTarget && id !== wordTokenizer.special.eos),
      );
      expect(read, kind).toMatch(kind === 'conclude' ? /, yes, at the (top|bottom) .*: / : /, yes, .*slowly: /);
      expect(said, kind).toMatch(/, yes/);
      expect(said, kind).toMatch(/ no/);
      expect(said, kind).not.toMatch(/ASSISTANT|USER|is there/);
      for (const noun of ['car', 'dog', 'tree'])
        expect(said.split(noun).length, kind).toBeLessThan(read.split(noun).length);
    }
  });

  it('put letters for things and colours where no picture is, the same ones in question and answer', () => {
    const words = /apple|butterfl|\bcar|cat|dog|fish|heart|house|mushroom|rocket|star|tree|red|yellow|blue|purple/;
    const documentsOf = (kind: DocumentKind, letters: number): string[] => {
      const stream = new DocumentStream(
        corpora,
        wordTokenizer,
        { ...plain, letters, mixture: { [kind]: 1 } },
        { random: 3, waiting: [] },
      );
      const { ids } = stream.nextBatch({ batch: 2, length: 1500 });
      return wordTokenizer.decode(Array.from(ids)).split('USER:').slice(1);
    };
    for (const kind of ['rewrite', 'conclude'] as const) {
      expect(documentsOf(kind, 0).every((document) => words.test(document))).toBe(true);
      const disguised = documentsOf(kind, 1);
      expect(disguised.length).toBeGreaterThan(10);
      // Plurals this small tokenizer has no token for stay words.
      expect(disguised.filter((document) => words.test(document)).length).toBeLessThan(disguised.length / 3);
    }
    for (const document of documentsOf('conclude', 1)) {
      const asked = /is there an?([A-Zb-z]) in the picture/.exec(document)?.[1];
      if (asked === undefined) continue;
      const [, list, verdict] = /ASSISTANT:(.*): (yes|no)/.exec(document) ?? [];
      expect(list.includes(`${asked}, yes, at`)).toBe(verdict === 'yes');
      expect(new RegExp(`an?${asked} at`).test(list)).toBe(false);
    }
  });

  it('leave little room empty, and let none wait for ever', () => {
    const stream = streamOf(documentKinds);
    let padding = 0;
    let waited = new Map<number, number>();
    for (let index = 0; index < 60; index++) {
      const { ids } = stream.nextBatch({ batch: 2, length: 400 });
      padding += ids.filter((id) => id === special.pad).length / ids.length;
      waited = new Map(stream.save().waiting.map((seed) => [seed, (waited.get(seed) ?? 0) + 1]));
      expect(Math.max(...waited.values())).toBeLessThan(12);
    }
    expect(padding / 60).toBeLessThan(0.1);
  });

  it('say everything in as many captions as asked', () => {
    const full = (fullCaptions: number): number => {
      const { ids, documents } = streamOf(['draw'], { fullCaptions }).nextBatch({ batch: 2, length: 3000 });
      return text.decode(Array.from(ids)).split(/ background, \w+ style/).length / documents;
    };
    expect(full(1)).toBeGreaterThanOrEqual(1);
    expect(full(0)).toBeLessThan(0.5);
  });

  it('draw in canonical codes and read what the tokenizer gives', () => {
    const firstCodes = (kind: DocumentKind): Set<number> => {
      const { ids, positions } = streamOf([kind]).nextBatch(shape);
      const found = new Set<number>();
      let seen = false;
      ids.forEach((id, at) => {
        if (positions[at] === 0) seen = false;
        if (seen || id < special.visualStart) return;
        seen = true;
        found.add(id - special.visualStart);
      });
      return found;
    };
    const [plain, canonical] = [0, 100].map((from) =>
      Array.from({ length: 12 }, (_, index) => (from + index) % codebook),
    );
    for (const kind of ['draw large', 'film'] as const) {
      for (const code of firstCodes(kind)) expect(canonical, kind).toContain(code);
    }
    for (const kind of ['ask', 'tell', 'ask clip'] as const) {
      for (const code of firstCodes(kind)) expect(plain, kind).toContain(code);
    }
  });

  it('draw new pictures of the parts of a corpus, and its own where they do not suffice', () => {
    const side = 8;
    const own = 31;
    const codesOf = (scenes: number): number[] => {
      const stills = Array.from({ length: scenes }, (_, index) => {
        const scene = corpusScene('stills', 9, index);
        // By background, so that a composed picture is of one code throughout; that of the corpus's own pictures is another.
        const codes = new Uint16Array(side * side).fill(backgrounds.indexOf(scene.background));
        return { scene, codes, canonical: new Uint16Array(side * side).fill(own), latentFrames: 1, side };
      });
      const options = { ...plain, mixture: { draw: 1 } };
      const stream = new DocumentStream({ ...corpora, stills }, text, options, { random: 11, waiting: [] });
      const { ids, documents } = stream.nextBatch({ batch: 2, length: 2000 });
      expect(documents).toBeGreaterThan(10);
      const codes = Array.from(ids).filter((id) => id >= special.visualStart);
      expect(codes).toHaveLength(documents * side * side);
      return Array.from({ length: documents }, (_, index) => {
        const picture = new Set(codes.slice(index * side * side, (index + 1) * side * side));
        expect(picture.size).toBe(1);
        return codes[index * side * side] - special.visualStart;
      });
    };
    expect(new Set(codesOf(3))).toEqual(new Set([own]));
    const composed = codesOf(4000);
    expect(composed).not.toContain(own);
    expect(new Set(composed).size).toBe(backgrounds.length);
  });

  it('read another thing in one slot where told to, and learn the rest of the picture alone', () => {
    const side = 8;
    const stills = Array.from({ length: 4000 }, (_, index) => {
      const scene = corpusScene('stills', 9, index);
      // What a cell shows is its code: things by their noun, bare background by its colour.
      const codes = Uint16Array.from({ length: side * side }, (_, cell) => {
        const [x, y] = [(cell % side) * 8, Math.floor(cell / side) * 8];
        const thing = scene.objects.find((each) => Math.abs(each.x - x - 4) < 16 && Math.abs(each.y - y - 4) < 16);
        return thing === undefined
          ? backgrounds.indexOf(scene.background)
          : backgrounds.length + nouns.indexOf(thing.noun);
      });
      return { scene, codes, canonical: codes, latentFrames: 1, side };
    });
    const batchOf = (strangers: number): PackedBatch =>
      new DocumentStream(
        { ...corpora, stills },
        text,
        { ...plain, fullCaptions: 1, strangers, mixture: { draw: 1 } },
        { random: 11, waiting: [] },
      ).nextBatch({ batch: 4, length: 2000 });
    const nounOf = (id: number): string => nouns[id - special.visualStart - backgrounds.length];
    let strange = 0;
    const { ids, targets, positions, documents } = batchOf(1);
    const starts = Array.from(positions.keys()).filter((at) => positions[at] === 0 && positions[at + 1] === 1);
    expect(starts).toHaveLength(documents);
    starts.forEach((start, index) => {
      const end = starts[index + 1] ?? ids.length;
      const places = Array.from({ length: end - start }, (_, at) => start + at);
      const cells = places.filter((at) => ids[at] >= special.visualStart && positions[at] >= positions[start]);
      const read = text.decode(Array.from(ids.slice(start, cells[0])));
      const unlearned = cells.filter((at) => targets[at - 1] === ignoredTarget);
      const learned = cells.filter((at) => targets[at - 1] !== ignoredTarget);
      for (const at of learned) expect(ids[at]).toBe(targets[at - 1]);
      for (const at of learned) if (nounOf(ids[at])) expect(read).toContain(nounOf(ids[at]));
      if (unlearned.length === 0) return;
      strange += 1;
      expect(unlearned).toHaveLength(16);
      expect(new Set(unlearned.map((at) => ids[at])).size).toBe(1);
      const shown = [...new Set(cells.map((at) => nounOf(ids[at])))].filter((noun) => noun !== undefined);
      for (const a of shown)
        for (const b of shown) if (a !== b) expect(isHeldOut([a, b].sort().join(' and '))).toBe(false);
    });
    expect(strange).toBeGreaterThan(documents / 4);
    const plainBatch = batchOf(0);
    const ignored = Array.from(plainBatch.targets.keys()).filter(
      (at) => plainBatch.targets[at] === ignoredTarget && plainBatch.ids[at + 1] >= special.visualStart,
    );
    expect(ignored).toHaveLength(0);
  });

  it('give answers the weight asked for, what follows from the things named another, and nothing else a loss', () => {
    const options = { ...plain, mixture: { ask: 1 }, answerWeight: 3, conclusionWeight: 5 };
    const stream = new DocumentStream(corpora, wordTokenizer, options, { random: 12, waiting: [] });
    const words: Record<number, string[]> = { 3: [], 5: [] };
    for (let batch = 0; batch < 4; batch++) {
      const { targets, weights } = stream.nextBatch(shape);
      targets.forEach((target, at) => {
        if (target !== ignoredTarget) words[weights[at]].push(wordTokenizer.decode([target]).trim());
      });
    }
    expect(nouns.some((noun) => words[3].includes(noun))).toBe(true);
    expect(words[3]).not.toContain('yes');
    expect(words[5]).toContain('yes');
  });

  it('weigh the words of drawings less than their codes', () => {
    const { targets, weights } = streamOf(['draw']).nextBatch(shape);
    targets.forEach((target, at) => {
      if (target === ignoredTarget) return;
      expect(weights[at]).toBe(target >= special.visualStart ? 1 : 0.25);
    });
  });

  it('weigh codes more where still things begin: in the first row and the middle one', () => {
    for (const [kind, side] of [
      ['draw', 4],
      ['film', 4],
    ] as const) {
      const { targets, weights, positions } = streamOf([kind], { beginWeight: 5 }).nextBatch(shape);
      let code = 0;
      targets.forEach((target, at) => {
        if (positions[at] === 0) code = 0;
        if (target < special.visualStart) return;
        const row = Math.floor(code++ / side);
        expect(weights[at], `${kind}, row ${row}`).toBe(row === 0 || row === 2 ? 5 : 1);
      });
    }
  });

  it('put noise among the codes that are read, never among those to be predicted', () => {
    const still = (options: object): PackedBatch => streamOf(['draw'], options).nextBatch(shape);
    const [clean, noisy] = [still({}), still({ contextNoise: { share: 1, highest: 1 } })];
    const isCode = (id: number): boolean => id >= special.visualStart;
    const codesOf = (ids: ArrayLike<number>): number[] => Array.from(ids).filter(isCode);
    expect(codesOf(noisy.targets)).toHaveLength(codesOf(clean.targets).length);
    const wrong = (batch: PackedBatch): number =>
      Array.from(batch.targets).filter((target, at) => isCode(target) && batch.ids[at + 1] !== target).length;
    expect(wrong(clean)).toBe(0);
    expect(wrong(noisy)).toBeGreaterThan(5);
  });

  it('leave captions out as often as asked', () => {
    const tokens = (captionDropout: number): number =>
      learned(streamOf(['draw'], { captionDropout }).nextBatch(shape)).other;
    const perDocument = (captionDropout: number): number =>
      tokens(captionDropout) / streamOf(['draw'], { captionDropout }).nextBatch(shape).documents;
    expect(perDocument(1)).toBeLessThan(perDocument(0));
  });

  it('go on where they were, bit for bit, in mixtures of all kinds', () => {
    const whole = streamOf(documentKinds);
    const batches = Array.from({ length: 6 }, () => whole.nextBatch(shape));
    const first = streamOf(documentKinds);
    for (let index = 0; index < 3; index++) expect(first.nextBatch(shape)).toEqual(batches[index]);
    const position: unknown = JSON.parse(JSON.stringify(first.save()));
    const { random, waiting } = position as { random: number; waiting: number[] };
    const mixture = Object.fromEntries(documentKinds.map((kind) => [kind, 1]));
    const resumed = new DocumentStream(corpora, text, { ...plain, mixture }, { random, waiting });
    for (let index = 3; index < 6; index++) expect(resumed.nextBatch(shape)).toEqual(batches[index]);
    expect(new SeededRandom(random).save()).toBe(random);
  });

  it('draw kinds in the shares of the mixture', () => {
    const stream = new DocumentStream(
      corpora,
      text,
      { ...plain, textWeight: 1, questions: 1, mixture: { draw: 1, 'tell clip': 0 } },
      {
        random: 1,
        waiting: [],
      },
    );
    for (let index = 0; index < 5; index++) expect(learned(stream.nextBatch(shape)).visual).toBeGreaterThan(0);
  });
});
