import { describe, expect, it } from 'vitest';
import { corpusScene, type Corpora, type TokenizedScene } from '../../demos/nano/train/corpus.node.js';
import { canonicalCodes, canonicalTable } from '../../demos/nano/train/canonical.js';
import { DocumentStream } from '../../demos/nano/train/documents.js';
import { allShots, isHeldOut, type Scene } from '../../demos/nano/world/scene.js';
import { backgrounds, nouns } from '../../demos/nano/world/words.js';
import { ignoredTarget, type PackedBatch } from '../../engine/train/packing.js';
import { codesOf, corpora, plain, shape, special, streamOf, text } from './document-streams.js';

describe('drawings in training documents', () => {
  it('draw in canonical codes and read what the tokenizer gives', () => {
    const table = canonicalTable(corpora);
    const own = (kind: keyof Corpora): string[] => corpora[kind].map(({ codes }) => codes.join(' '));
    const canonical = (kind: keyof Corpora): string[] =>
      corpora[kind].map((item) => canonicalCodes(item, table).join(' '));
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
      const ends = items.map((item) => canonicalCodes(item, table).slice(from).join());
      expect(ends).toContain(read.slice(from).join());
    }
    expect([...given].sort((a, b) => a - b)).toEqual([16, 32]);
  });

  it('leave out of a caption what stands beside the moving thing where told to, if the beginning is given', () => {
    const twoThings = corpora.clips.filter(({ scene }) => scene.objects.length === 2);
    expect(twoThings.length).toBeGreaterThan(0);
    const captionsOf = (options: object): string[] => {
      const all = { ...plain, fullCaptions: 1, ...options, mixture: { film: 1 } };
      const stream = new DocumentStream({ ...corpora, clips: twoThings }, text, all, { random: 5, waiting: [] });
      const { ids } = stream.nextBatch({ batch: 2, length: 2000 });
      const found = text.decode(Array.from(ids)).match(/an? [^*]+ style/g) ?? [];
      expect(found.length).toBeGreaterThan(5);
      return found;
    };
    const thingsIn = (caption: string): number => caption.match(/ at the (top|bottom|left|right|cent)/g)?.length ?? 0;
    for (const caption of captionsOf({ continued: 1 })) expect(thingsIn(caption), caption).toBe(2);
    for (const caption of captionsOf({ toldInPart: 1 })) expect(thingsIn(caption), caption).toBe(2);
    for (const caption of captionsOf({ continued: 1, toldInPart: 1 })) {
      expect(thingsIn(caption), caption).toBe(1);
      expect(caption).not.toContain('stands still');
    }
  });

  it('film beginnings of one latent frame where told to', () => {
    const table = canonicalTable(corpora);
    const films = codesOf(streamOf(['film'], { begun: 1 }).nextBatch(shape), 16);
    const beginnings = corpora.clips.map((item) => canonicalCodes(item, table).slice(0, 16).join());
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
});
