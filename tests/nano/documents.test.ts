import { describe, expect, it } from 'vitest';
import { DocumentStream, documentKinds, type DocumentKind } from '../../demos/nano/train/documents.js';
import { fullClipCaption } from '../../demos/nano/world/captions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { nouns } from '../../demos/nano/world/words.js';
import { ignoredTarget, type PackedBatch } from '../../engine/train/packing.js';
import { corpora, plain, shape, special, streamOf, text, wordTokenizer } from './document-streams.js';

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

  it('write captions out in full of clips whose beginning is given, with what the captions leave out', () => {
    const twoThings = corpora.clips.filter(({ scene }) => scene.objects.length === 2);
    const stream = new DocumentStream(
      { ...corpora, clips: twoThings },
      text,
      { ...plain, toldInPart: 1, answerWeight: 3, conclusionWeight: 5, mixture: { 'rewrite continued': 1 } },
      { random: 11, waiting: [] },
    );
    const { ids, positions, targets, weights } = stream.nextBatch(shape);
    expect(new Set(weights.filter((_, at) => targets[at] !== ignoredTarget))).toEqual(new Set([3]));
    const starts = Array.from(positions.keys()).filter((at) => positions[at] === 0 && positions[at + 1] === 1);
    const given = new Set<number>();
    for (const [index, start] of starts.entries()) {
      const read = Array.from(ids.slice(start, starts[index + 1]));
      const learned = Array.from(targets.slice(start, starts[index + 1])).filter((id) => id !== ignoredTarget);
      const codes = read.filter((id) => id >= special.visualStart).map((id) => id - special.visualStart);
      const full = text.decode(learned.filter((id) => id !== special.eos)).trim();
      const shown = twoThings.filter((item) => item.codes.subarray(0, codes.length).join() === codes.join());
      expect(shown.map(({ scene }) => fullClipCaption(scene))).toContain(full);
      const asked = text.decode(read).split('ASSISTANT:')[0];
      expect(asked).not.toContain('stands still');
      given.add(codes.length);
    }
    expect([...given].sort((a, b) => a - b)).toEqual([16, 32]);
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
