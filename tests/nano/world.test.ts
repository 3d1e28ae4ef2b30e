import { describe, expect, it } from 'vitest';
import { corpusScene } from '../../demos/nano/train/corpus.node.js';
import {
  fullCaption,
  fullClipCaption,
  placePhrase,
  variedCaption,
  variedClipCaption,
} from '../../demos/nano/world/captions.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import {
  ask,
  backgroundQuestion,
  conclusionOf,
  drawClipQuestion,
  drawQuestion,
  questionTypes,
  reasonedAnswer,
} from '../../demos/nano/world/questions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import {
  boxOf,
  clipFrames,
  combinationsOf,
  drawClip,
  drawScene,
  enlarged,
  gridStep,
  isHeldOut,
  largeSide,
  largeObjectSize,
  largeSlotSize,
  objectSize,
  pictureSize,
  poseAt,
  relationsOf,
  sceneKinds,
  slotSize,
  splitOf,
  type Scene,
  type SceneObject,
} from '../../demos/nano/world/scene.js';
import {
  backgroundPaints,
  motionKinds,
  numberWords,
  trainedStyles,
  type Color,
  type Noun,
} from '../../demos/nano/world/words.js';

const scenes = (count: number): Scene[] => {
  const random = new SeededRandom(3);
  return Array.from({ length: count }, (_, index) =>
    drawScene(random, { kind: sceneKinds[index % sceneKinds.length] }),
  );
};
const clips = (count: number): Scene[] => {
  const random = new SeededRandom(4);
  return Array.from({ length: count }, (_, index) =>
    drawClip(random, { kind: motionKinds[index % motionKinds.length] }),
  );
};

describe('scenes', () => {
  it('depend on their seed and number alone, and no training scene shows a held-out combination', () => {
    for (const kind of ['stills', 'large stills', 'clips'] as const) {
      for (let index = 0; index < 150; index++) {
        const scene = corpusScene(kind, 5, index);
        expect(corpusScene(kind, 5, index)).toEqual(scene);
        expect(combinationsOf(scene).filter(isHeldOut)).toEqual([]);
        expect(trainedStyles).toContain(scene.style);
      }
    }
    expect(corpusScene('stills', 5, 0)).not.toEqual(corpusScene('stills', 6, 0));
  });

  it('hold out about a tenth of the combinations of each kind, and can be asked for', () => {
    const random = new SeededRandom(1);
    for (const kind of ['color', 'count', 'two', 'position', 'binding'] as const) {
      const scene = drawScene(random, { kind, split: 'held out' });
      expect(splitOf(scene)).toBe('held out');
    }
    const names = new Set(scenes(3000).flatMap(combinationsOf));
    const share = [...names].filter(isHeldOut).length / names.size;
    expect(share).toBeGreaterThan(0.06);
    expect(share).toBeLessThan(0.14);
  });

  it('keep things on the grid, inside the picture and apart', () => {
    for (const { objects } of scenes(300)) {
      objects.forEach((thing, index) => {
        expect((thing.x - slotSize / 2) % gridStep).toBe(0);
        expect((thing.y - slotSize / 2) % gridStep).toBe(0);
        for (const side of [thing.x, thing.y]) {
          expect(side).toBeGreaterThanOrEqual(slotSize / 2);
          expect(side).toBeLessThanOrEqual(pictureSize - slotSize / 2);
        }
        for (const other of objects.slice(index + 1)) {
          const apart = Math.max(Math.abs(thing.x - other.x), Math.abs(thing.y - other.y));
          expect(apart).toBeGreaterThanOrEqual(slotSize);
        }
      });
    }
  });

  it('stand on the grid of the larger picture too, still apart', () => {
    const scale = largeSide / pictureSize;
    for (const scene of scenes(200)) {
      const { objects } = enlarged(scene);
      objects.forEach((thing, index) => {
        expect(thing.size * scale).toBeCloseTo(largeObjectSize, 9);
        const steps = (thing.x * scale - largeSlotSize / 2) / gridStep;
        expect(steps).toBeCloseTo(Math.round(steps), 9);
        for (const other of objects.slice(index + 1)) {
          const apart = Math.max(Math.abs(thing.x - other.x), Math.abs(thing.y - other.y)) * scale;
          expect(apart).toBeGreaterThanOrEqual(largeSlotSize - 1e-9);
        }
      });
    }
  });

  it('relate things by the rule of GenEval', () => {
    const at = (x: number, y: number) => ({ x, y, width: 20, height: 20 });
    expect(relationsOf(at(0, 0), at(40, 0))).toEqual(['left of']);
    expect(relationsOf(at(40, 0), at(0, 0))).toEqual(['right of']);
    expect(relationsOf(at(0, 0), at(0, 40))).toEqual(['above']);
    expect(relationsOf(at(0, 40), at(0, 0))).toEqual(['below']);
    // Askew: both distances count, less a tenth of both sizes: 36 of a distance of 56.6 is 0.64 each.
    expect(relationsOf(at(0, 0), at(40, 40))).toEqual(['left of', 'above']);
    // 36 and 16 of a distance of 44.7: 0.8 and 0.36.
    expect(relationsOf(at(0, 0), at(40, 20))).toEqual(['left of']);
    // 27.2 and 19.2 of 40: 0.68 and 0.48, where the length of what is left would make 0.58 of the second.
    const thing = (x: number, y: number) => ({ x, y, width: 24, height: 24 });
    expect(relationsOf(thing(32, 24), thing(0, 0))).toEqual(['right of']);
    // A tenth of both sizes is 4: nearer than that is no relation.
    expect(relationsOf(at(0, 0), at(4, 4))).toEqual([]);
  });
});

describe('clips', () => {
  it('move as their motion says, and stay in the picture unless they enter or leave', () => {
    for (const { objects } of clips(200)) {
      const [moving] = objects;
      const poses = Array.from({ length: clipFrames }, (_, frame) => poseAt(moving, frame));
      const [first, last] = [poses[0], poses[clipFrames - 1]];
      const speed = moving.motion?.speed ?? 0;
      const way = speed * (clipFrames - 1);
      switch (moving.motion?.kind) {
        case 'moves left':
          expect(first.x - last.x).toBe(way);
          break;
        case 'moves right':
          expect(last.x - first.x).toBe(way);
          break;
        case 'moves up':
          expect(first.y - last.y).toBe(way);
          break;
        case 'moves down':
          expect(last.y - first.y).toBe(way);
          break;
        case 'grows':
          expect(last.size).toBeGreaterThan(first.size);
          break;
        case 'shrinks':
          expect(last.size).toBeLessThan(first.size);
          break;
        case 'spins':
          expect(last.angle).toBeGreaterThan(first.angle);
          break;
        case 'enters':
          expect(first.x).toBeLessThan(0);
          expect(last.x).toBeGreaterThan(0);
          continue;
        case 'leaves':
          expect(last.x).toBeGreaterThan(first.x);
          continue;
      }
      for (const { x, y, size } of poses) {
        for (const side of [x, y]) {
          expect(side - size / 2).toBeGreaterThanOrEqual(-1e-9);
          expect(side + size / 2).toBeLessThanOrEqual(pictureSize + 1e-9);
        }
      }
    }
  });
});

describe('words about scenes', () => {
  it('name things, numbers and places as they are', () => {
    const scene: Scene = {
      style: 'noto',
      background: 'pink',
      objects: [
        { noun: 'car', color: 'red', x: 44, y: 52, size: objectSize },
        { noun: 'apple', color: undefined, x: 12, y: 12, size: objectSize },
      ],
    };
    expect(fullCaption(scene)).toBe(
      'an apple at the top left, a red car at the bottom right, pink background, noto style',
    );
    expect(placePhrase({ x: 28, y: 36 })).toBe('in the center');
    expect(relationsOf(boxOf(scene.objects[1]), boxOf(scene.objects[0]))).toEqual(['left of', 'above']);
    const random = new SeededRandom(2);
    for (let index = 0; index < 50; index++) {
      const caption = variedCaption(scene, random);
      expect(caption).toContain('red car');
      expect(caption).toContain('apple');
      expect(caption).not.toContain('undefined');
    }
    const clip: Scene = {
      ...scene,
      objects: [{ ...scene.objects[0], motion: { kind: 'moves left', speed: 3 } }, scene.objects[1]],
    };
    expect(fullClipCaption(clip)).toBe(
      'a red car at the bottom right moves left quickly, an apple at the top left stands still, pink background, noto style',
    );
    expect(variedClipCaption(clip, random)).toContain('red car moves left');
  });

  it('ask questions whose answers follow from the graph', () => {
    const random = new SeededRandom(6);
    for (const scene of scenes(300)) {
      const { type, question, answer } = drawQuestion(scene, random);
      const nouns = scene.objects.map(({ noun }) => noun);
      if (type === 'is there') {
        const noun = question.split(' ')[3];
        expect(answer).toBe(nouns.some((other) => other === noun) ? 'yes' : 'no');
      }
      if (question === 'how many things are there?') expect(answer).toBe(numberWords[nouns.length]);
      if (question === 'what color is the background?') expect(answer).toBe(scene.background);
      if (type === 'where') {
        const thing = scene.objects.find(({ noun }) => question === `where is the ${noun}?`);
        expect(thing && placePhrase(thing)).toBe(answer);
      }
      expect(question).toMatch(/\?$/);
      expect(answer).not.toContain('undefined');
    }
    for (const scene of clips(100)) {
      const { type, question, answer } = drawClipQuestion(scene, random);
      const kind = scene.objects[0].motion?.kind ?? '';
      if (type === 'motion' && question.startsWith('what does')) expect(answer).toBe(`it ${kind}`);
      if (question.startsWith('which way') && kind.startsWith('moves')) expect(kind).toBe(`moves ${answer}`);
    }
  });

  it('ask nothing that a scene cannot answer', () => {
    const lone: Scene = {
      style: 'fluent',
      background: 'white',
      objects: [{ noun: 'cat', color: undefined, x: 12, y: 12, size: objectSize }],
    };
    const random = new SeededRandom(7);
    expect(ask('relation', lone, random)).toBeUndefined();
    expect(ask('motion', lone, random)).toBeUndefined();
    for (const type of questionTypes) {
      if (type === 'relation' || type === 'motion' || type === 'color') continue;
      expect(ask(type, lone, random)).toBeDefined();
    }
  });
});

describe('reasoned answers', () => {
  const thing = (noun: Noun, x: number, y: number, color?: Color): SceneObject => ({ noun, color, x, y, size: 28 });
  const scene: Scene = {
    style: 'noto',
    background: 'pink',
    objects: [thing('cat', 48, 16), thing('car', 16, 16, 'red'), thing('cat', 16, 48, 'blue')],
  };
  const seen = 'a red car at the top left, a cat at the top right, a blue cat at the bottom left';

  it('confirm or count what is asked about where they name it', () => {
    const cases: [string, string, string][] = [
      ['is there a car in the picture?', 'yes', seen.replace('car', 'car, yes,')],
      ['is there a dog in the picture?', 'no', seen],
      ['how many cats are there?', 'two', seen.replace('cat at', 'cat, one, at').replace('cat at', 'cat, two, at')],
      ['where is the car?', 'at the top left', seen.replace('car', 'car, yes,')],
      ['what color is the car?', 'red', seen.replace('car', 'car, yes,')],
      ['what is at the top right?', 'a cat', seen.replace('right', 'right, yes')],
      ['what is in the picture?', 'a red car, a cat and a blue cat', seen],
      [
        'how many things are there?',
        'three',
        'a red car, one, at the top left, a cat, two, at the top right, a blue cat, three, at the bottom left',
      ],
    ];
    for (const [question, answer, list] of cases) {
      expect(reasonedAnswer(scene, { question, answer })).toBe(`${list}: ${answer}`);
      expect(conclusionOf(reasonedAnswer(scene, { question, answer }))).toBe(answer);
    }
    expect(reasonedAnswer(scene, { question: backgroundQuestion, answer: 'pink' })).toBe('pink');
  });

  it('say where both things are before a relation, in the order of the question', () => {
    const objects = scene.objects.slice(0, 2);
    expect(reasonedAnswer({ ...scene, objects }, { question: 'is the cat left of the car?', answer: 'no' })).toBe(
      'a red car, yes, at the top left, a cat, yes, at the top right: cat right, car left: no',
    );
    const below = { ...scene, objects: scene.objects.slice(1) };
    expect(reasonedAnswer(below, { question: 'is the car above the cat?', answer: 'yes' })).toBe(
      'a red car, yes, at the top left, a blue cat, yes, at the bottom left: car top, cat bottom: yes',
    );
  });

  it('say of clips what each thing does', () => {
    const objects = [{ ...scene.objects[1], motion: { kind: 'moves up', speed: 2 } }, scene.objects[0]] as const;
    expect(reasonedAnswer({ ...scene, objects }, { question: 'which way does the car move?', answer: 'up' })).toBe(
      'a red car, yes, moves up slowly, a cat stands still: up',
    );
  });
});

describe('artwork', () => {
  it('is drawn the same twice, on its background, and differs by colour and place', async () => {
    const artwork = await Artwork.load();
    const [scene] = scenes(1);
    const picture = artwork.picture(scene);
    expect(picture).toEqual((await Artwork.load()).picture(scene));
    expect(picture).toHaveLength(pictureSize * pictureSize * 3);
    const thing = { noun: 'star', color: 'red', x: 12, y: 12, size: objectSize } as const;
    const draw = (changes: object): Uint8Array =>
      artwork.picture({ style: 'fluent', background: 'gray', objects: [{ ...thing, ...changes }] });
    const [red, blue, moved] = [draw({}), draw({ color: 'blue' }), draw({ x: 44 })];
    expect([...red.subarray(red.length - 3)]).toEqual([...backgroundPaints.gray]);
    const at = (12 * pictureSize + 12) * 3;
    expect(red[at]).toBeGreaterThan(red[at + 2]);
    expect(blue[at + 2]).toBeGreaterThan(blue[at]);
    expect([...moved.subarray(at, at + 3)]).toEqual([...backgroundPaints.gray]);
    expect(artwork.picture(scene, 0, largeSide)).toHaveLength(largeSide * largeSide * 3);
    expect(artwork.clip(clips(1)[0])).toHaveLength(clipFrames);
  });
});
