import { describe, expect, it } from 'vitest';
import { corpusScene, type Corpora, type TokenizedScene } from '../../demos/nano/train/corpus.node.js';
import { canonicalCodes, canonicalTable } from '../../demos/nano/train/canonical.js';
import { DocumentStream, documentKinds, type DocumentKind } from '../../demos/nano/train/documents.js';
import { fullCaption } from '../../demos/nano/world/captions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { allShots, isHeldOut, type Scene } from '../../demos/nano/world/scene.js';
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
function corpus(kind: 'stills' | 'large stills' | 'clips', side: number, latentFrames: number): TokenizedScene[] {
  const grid = (seed: number): Uint16Array =>
    Uint16Array.from({ length: latentFrames * side * side }, (_, at) => (at + seed) % codebook);
  return Array.from({ length: 12 }, (_, index) => ({
    scene: corpusScene(kind, 9, index),
    from: 0,
    codes: grid(index),
    latentFrames,
    side,
  }));
}

const corpora: Corpora = {
  stills: corpus('stills', 4, 1),
  'large stills': corpus('large stills', 6, 1),
  clips: corpus('clips', 4, 3),
  shots: [],
};

const plain = {
  captionDropout: 0,
  fullCaptions: 0,
  contextNoise: { share: 0, highest: 0 },
  strangers: 0,
  continued: 0,
  disguised: 0,
  begun: 0,
  beginWeight: 1,
  thingWeight: 1,
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

/** Codes of each whole drawing of so many in a batch: as they are read, which are learned, and what they weigh. */
function codesOf(
  { ids, targets, weights }: PackedBatch,
  count: number,
): { read: number[]; learned: boolean[]; weights: number[] }[] {
  const places = Array.from(ids.keys()).filter((at) => ids[at] >= special.visualStart);
  expect(places.length % count).toBe(0);
  return Array.from({ length: places.length / count }, (_, index) => {
    const own = places.slice(index * count, (index + 1) * count);
    return {
      read: own.map((at) => ids[at] - special.visualStart),
      learned: own.map((at) => targets[at - 1] !== ignoredTarget),
      weights: own.map((at) => weights[at - 1]),
    };
  });
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
    const table = canonicalTable(corpora);
    const own = (kind: keyof Corpora): string[] => corpora[kind].map(({ codes }) => codes.join(' '));
    const canonical = (kind: keyof Corpora): string[] =>
      corpora[kind].map((item) => canonicalCodes(kind, item, table).join(' '));
    const expected = {
      'draw large': 'large stills',
      film: 'clips',
      ask: 'stills',
      tell: 'stills',
      'ask clip': 'clips',
    } as const;
    for (const kind of ['draw large', 'film', 'ask', 'tell', 'ask clip'] as const) {
      const corpus = expected[kind];
      const isDrawn = kind === 'draw large' || kind === 'film';
      expect(canonical(corpus)).not.toEqual(own(corpus));
      const found = codesOf(streamOf([kind]).nextBatch(shape), corpora[corpus][0].codes.length);
      expect(found.length, kind).toBeGreaterThan(2);
      for (const { read } of found) expect((isDrawn ? canonical : own)(corpus), kind).toContain(read.join(' '));
    }
  });

  it('film what the encoder began, and learn what follows alone', () => {
    const table = canonicalTable(corpora);
    const films = codesOf(streamOf(['film'], { continued: 1 }).nextBatch({ batch: 2, length: 3000 }), 48);
    const given = new Set<number>();
    for (const { read, learned } of films) {
      const from = learned.indexOf(true);
      given.add(from);
      expect(learned.slice(from)).not.toContain(false);
      const isFrom = ({ codes }: TokenizedScene): boolean => codes.slice(0, from).join() === read.slice(0, from).join();
      const items = corpora.clips.filter(isFrom);
      const ends = items.map((item) => canonicalCodes('clips', item, table).slice(from).join());
      expect(ends).toContain(read.slice(from).join());
    }
    expect([...given].sort((a, b) => a - b)).toEqual([16, 32]);
  });

  it('film beginnings of one latent frame where told to', () => {
    const table = canonicalTable(corpora);
    const films = codesOf(streamOf(['film'], { begun: 1 }).nextBatch(shape), 16);
    const beginnings = corpora.clips.map((item) => canonicalCodes('clips', item, table).slice(0, 16).join());
    expect(films.length).toBeGreaterThan(5);
    for (const { read } of films) expect(beginnings).toContain(read.join());
  });

  it('film in other codes where told to, each time others, and learn what follows the first latent frame, things above all', () => {
    const side = 8;
    const scenes = Array.from({ length: 400 }, (_, index) => corpusScene('clips', 9, index));
    const shown = (of: Scene, from: number, latentFrames: number): TokenizedScene => ({
      scene: of,
      from,
      // Bare background is code 0, and what a shot's thing shows code 1 to 31.
      codes: Uint16Array.from({ length: latentFrames * side * side }, (_, at) => 1 + (at % 31)),
      latentFrames,
      side,
    });
    const stills = backgrounds.map((background) => ({
      ...shown({ style: 'noto', background, objects: [] }, 0, 1),
      codes: new Uint16Array(side * side),
    }));
    const shots = allShots().map(({ scene, from }) => shown(scene, from, 1));
    const clips = scenes.filter(({ objects }) => objects.length === 1).map((scene) => shown(scene, 0, 3));
    const stream = new DocumentStream(
      { ...corpora, stills, shots, clips },
      text,
      { ...plain, disguised: 1, thingWeight: 4, fullCaptions: 1, mixture: { film: 1 } },
      { random: 4, waiting: [] },
    );
    const films = codesOf(stream.nextBatch({ batch: 2, length: 3000 }), 3 * side * side);
    const backgroundCodes = new Set<number>();
    let things = 0;
    for (const { read, learned, weights } of films) {
      expect(learned.indexOf(true)).toBe(side * side);
      expect(learned.lastIndexOf(false)).toBe(side * side - 1);
      const counts = read.reduce((sum, code) => sum.set(code, (sum.get(code) ?? 0) + 1), new Map<number, number>());
      const [[bare]] = [...counts].sort((a, b) => b[1] - a[1]);
      backgroundCodes.add(bare);
      // Each code goes on by a whole cell each latent frame, whichever way.
      const cellsOf = (frame: number): number[] =>
        Array.from({ length: side * side }, (_, cell) => cell).filter((cell) => read[frame * 64 + cell] !== bare);
      const [first, second, third] = [0, 1, 2].map(cellsOf);
      const steps = new Set([
        ...second.map((cell, index) => cell - first[index]),
        ...third.map((cell, index) => cell - second[index]),
      ]);
      const isThing = new Set([...second.map((cell) => 64 + cell), ...third.map((cell) => 128 + cell)]);
      for (let at = 64; at < read.length; at++) expect(weights[at]).toBe(isThing.has(at) ? 4 : 1);
      if (first.length !== second.length || second.length !== third.length) continue;
      things += 1;
      expect(steps.size).toBe(1);
      expect([1, 8]).toContain(Math.abs([...steps][0]));
      second.forEach((cell, index) => expect(read[64 + cell]).toBe(read[first[index]]));
    }
    expect(things).toBeGreaterThan(films.length / 2);
    expect(backgroundCodes.size).toBeGreaterThan(5);
  });

  it('draw new pictures of the parts of a corpus, and its own where they do not suffice', () => {
    const side = 8;
    const drawn = (scenes: number): number => {
      const stills = Array.from({ length: scenes }, (_, index) => {
        const scene = corpusScene('stills', 9, index);
        // By background, so that a composed picture is of one code throughout.
        const codes = new Uint16Array(side * side).fill(backgrounds.indexOf(scene.background));
        return { scene, from: 0, codes, latentFrames: 1, side };
      });
      const options = { ...plain, fullCaptions: 1, mixture: { draw: 1 } };
      const stream = new DocumentStream({ ...corpora, stills }, text, options, { random: 11, waiting: [] });
      const batch = stream.nextBatch({ batch: 2, length: 2000 });
      const pictures = codesOf(batch, side * side);
      expect(pictures.length).toBe(batch.documents);
      for (const { read } of pictures) expect(new Set(read).size).toBe(1);
      return new Set(text.decode(Array.from(batch.ids)).match(/an? [^*]+ style/g)).size;
    };
    expect(drawn(3)).toBeLessThanOrEqual(3);
    expect(drawn(4000)).toBeGreaterThan(10);
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
      return { scene, from: 0, codes, latentFrames: 1, side };
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
