import { describe, expect, it } from 'vitest';
import { SceneChecker, type FoundThing } from '../../demos/nano/check/checker.js';
import { commonCount, parseCaption, parseClipCaption } from '../../demos/nano/eval/caption-parser.js';
import {
  drawPrompts,
  faultOf,
  genevalTasks,
  promptsOf,
  sceneFor,
  splitOfPrompt,
  type GenevalPrompt,
} from '../../demos/nano/eval/geneval-prompts.js';
import { answerFrom } from '../../demos/nano/eval/oracle.js';
import { isYes, popeQuestions, popeScores, popeStrategies } from '../../demos/nano/eval/pope.js';
import { normalised } from '../../demos/nano/eval/questions.js';
import { codebookUsage } from '../../demos/nano/eval/reconstruction.js';
import { escapeHtml } from '../../demos/nano/eval/report-html.node.js';
import { elsewhere } from '../../demos/nano/eval/suite.js';
import { fullCaption, fullClipCaption } from '../../demos/nano/world/captions.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import { drawClipQuestion, drawQuestion } from '../../demos/nano/world/questions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import {
  combinationsOf,
  drawClip,
  drawScene,
  isHeldOut,
  relationsOf,
  sceneKinds,
  splitOf,
} from '../../demos/nano/world/scene.js';

describe('GenEval', () => {
  it('splits its prompts by what is held out', () => {
    for (const task of genevalTasks) {
      const prompts = promptsOf(task);
      expect(new Set(prompts.map(({ prompt }) => prompt)).size).toBe(prompts.length);
      const heldOut = prompts.filter((prompt) => splitOfPrompt(prompt) === 'held out');
      expect(heldOut.length > 0).toBe(task !== 'single object');
      for (const prompt of drawPrompts(task, 'seen', 20, new SeededRandom(1))) {
        expect(prompt.combinations.filter(isHeldOut)).toEqual([]);
      }
      for (const prompt of drawPrompts(task, 'held out', 20, new SeededRandom(1))) {
        expect(prompt.ofTask.some(isHeldOut)).toBe(true);
        expect(combinationsOf(sceneFor(prompt, new SeededRandom(2))).some(isHeldOut)).toBe(true);
      }
    }
    expect(promptsOf('counting').map(({ prompt }) => prompt)).toContain('three butterflies');
    expect(promptsOf('position').map(({ prompt }) => prompt)).toContain('an apple left of a star');
    expect(promptsOf('attribute binding').map(({ prompt }) => prompt)).toContain('a red car and a blue star');
  });

  it('judges as its evaluation code does', async () => {
    const checker = new SceneChecker(await Artwork.load());
    const thing = (noun: FoundThing['noun'], color: FoundThing['color'], x: number, score = 0.9): FoundThing => ({
      noun,
      color,
      style: 'noto',
      score,
      box: { x, y: 20, width: 24, height: 24 },
      patch: { left: 0, right: 1, top: 0, bottom: 1, area: 1 },
    });
    const prompt = (text: string): GenevalPrompt => {
      const found = genevalTasks.flatMap(promptsOf).find((each) => each.prompt === text);
      if (found === undefined) throw new Error(text);
      return found;
    };
    const fault = (text: string, ...things: FoundThing[]): string | undefined =>
      faultOf(prompt(text), { things }, checker);
    expect(fault('a car', thing('car', 'red', 12), thing('star', 'red', 52))).toBeUndefined();
    expect(fault('a car', thing('star', 'red', 12))).toBe('0 of 1 car');
    // Only counting forbids more than was asked for.
    expect(fault('a car', thing('car', 'red', 12), thing('car', 'red', 52))).toBeUndefined();
    expect(fault('two cars', thing('car', 'red', 12), thing('car', 'red', 52))).toBeUndefined();
    expect(fault('two cars', thing('car', 'red', 12), thing('car', 'red', 36), thing('car', 'red', 52))).toBe(
      '3 of 2 car',
    );
    // The surest of several must have the colour.
    expect(fault('a red car', thing('car', 'blue', 12, 0.8), thing('car', 'red', 52, 0.9))).toBeUndefined();
    expect(fault('a red car', thing('car', 'blue', 12, 0.95), thing('car', 'red', 52, 0.9))).toBe('blue car');
    expect(fault('a red house', thing('house', undefined, 12))).toBe('unpainted house');
    expect(fault('a yellow star', thing('star', undefined, 12))).toBeUndefined();
    expect(fault('a car left of a star', thing('star', 'red', 52), thing('car', 'red', 12))).toBeUndefined();
    expect(fault('a car right of a star', thing('star', 'red', 52), thing('car', 'red', 12))).toBe('not right of');
    expect(fault('a red car and a blue star', thing('star', 'red', 52), thing('car', 'blue', 12))).toBe('blue car');
  });

  it('has relations by the rule', () => {
    const box = (x: number, y: number, size = 24): { x: number; y: number; width: number; height: number } => ({
      x,
      y,
      width: size,
      height: size,
    });
    expect(relationsOf(box(12, 20), box(52, 20))).toEqual(['left of']);
    expect(relationsOf(box(52, 20), box(12, 20))).toEqual(['right of']);
    expect(relationsOf(box(20, 12), box(20, 52))).toEqual(['above']);
    // 40 and 40 less 4.8 each, of a distance of 56.6: 0.62 both.
    expect(relationsOf(box(52, 52), box(12, 12))).toEqual(['right of', 'below']);
    // 40 and 16 less 4.8 each, of 43.1: 0.82 and 0.26.
    expect(relationsOf(box(12, 20), box(52, 36))).toEqual(['left of']);
    // 40 and 28 less 4.8: 23.2 of 48.8 is 0.475; 40 and 30: 25.2 of 50 is 0.504.
    expect(relationsOf(box(12, 20), box(52, 48))).toEqual(['left of']);
    expect(relationsOf(box(12, 20), box(52, 50))).toEqual(['left of', 'above']);
    // A distance below a tenth of both sizes is none.
    expect(relationsOf(box(20, 20), box(24, 24))).toEqual([]);
  });
});

describe('POPE', () => {
  it('asks as many questions of either answer, the absent things by strategy', () => {
    const random = new SeededRandom(6);
    const scenes = Array.from({ length: 30 }, () => drawScene(random, { kind: 'mixed' }));
    const items = popeQuestions(scenes, 'seen', 100, random);
    for (const strategy of popeStrategies) {
      const asked = items.filter((item) => item.strategy === strategy);
      expect(asked.filter(({ there }) => there).length * 2).toBe(asked.length);
    }
    const present = scenes.map(({ objects }) => objects.map(({ noun }) => noun));
    expect(items.filter(({ picture, noun, there }) => present[picture - 100].includes(noun) !== there)).toEqual([]);
    const frequency = (strategy: string): number =>
      items
        .filter((item) => item.strategy === strategy && !item.there)
        .reduce((sum, { noun }) => sum + present.filter((each) => each.includes(noun)).length, 0);
    expect(frequency('popular')).toBeGreaterThan(1.15 * frequency('random'));
    const together = (strategy: string): number =>
      items
        .filter((item) => item.strategy === strategy && !item.there)
        .reduce((sum, { noun, picture }) => {
          const here = present[picture - 100];
          return (
            sum +
            present
              .filter((each) => each.includes(noun))
              .flat()
              .filter((each) => here.includes(each)).length
          );
        }, 0);
    expect(together('adversarial')).toBeGreaterThan(together('popular'));
  });

  it('has its scores and reads answers as its evaluation does', () => {
    const answers = [
      { there: true, yes: true },
      { there: true, yes: true },
      { there: true, yes: false },
      { there: false, yes: true },
      { there: false, yes: false },
    ];
    expect(popeScores(answers)).toEqual({ accuracy: 0.6, precision: 2 / 3, recall: 2 / 3, f1: 2 / 3, yes: 0.6 });
    expect(popeScores([{ there: true, yes: false }])).toMatchObject({ precision: undefined, recall: 0, f1: undefined });
    const said = ['Yes.', 'No', ' no, there is not', 'it is not there', 'yes. no', ' a car at the top left: no'];
    expect([...said, 'a car at the top left: yes'].map(isYes)).toEqual([true, false, false, false, true, false, true]);
  });
});

describe('captions', () => {
  it('are read back whole', () => {
    const random = new SeededRandom(11);
    for (const kind of sceneKinds) {
      const scene = drawScene(random, { kind });
      const facets = parseCaption(fullCaption(scene));
      expect(facets.unread).toEqual([]);
      expect(facets.noun).toHaveLength(scene.objects.length);
      expect([...facets.noun].sort()).toEqual(scene.objects.map(({ noun }) => noun).sort());
      expect([facets.background, facets.style]).toEqual([[scene.background], [scene.style]]);
    }
    for (let trial = 0; trial < 30; trial++) {
      const scene = drawClip(random);
      const facets = parseClipCaption(fullClipCaption(scene));
      expect(facets.unread).toEqual([]);
      expect(facets.noun).toEqual(scene.objects.map(({ noun }) => noun));
      expect(facets.speed).toHaveLength(1);
    }
  });

  it('are read facet by facet, with what cannot be read set apart', () => {
    const facets = parseCaption(
      'A red car at the top left,  two stars, a star in the center, a car at the left, pink background.',
    );
    expect(facets).toEqual({
      noun: ['car', 'star', 'car'],
      color: ['red car', 'star', 'car'],
      count: ['2 car', '1 star'],
      place: ['car at the top left', 'star in the center', 'car at the left'],
      motion: [],
      speed: [],
      background: ['pink'],
      style: [],
      unread: ['two stars'],
    });
    const clip = parseClipCaption(
      'an apple at the left enters from the left quickly, a tree in the center stands still, ' +
        'a dog at the top flies, a cat spins slowly, green background',
    );
    expect(clip.place).toEqual(['apple at the left', 'tree in the center']);
    expect(clip.motion).toEqual(['apple enters from the left', 'tree stands still', 'cat spins']);
    expect(clip.speed).toEqual(['apple quickly', 'cat slowly']);
    expect(clip.unread).toEqual(['a dog at the top flies', 'green background']);
    expect(parseCaption('').unread).toEqual([]);
    expect(commonCount(['a', 'a', 'b'], ['a', 'c', 'b', 'b'])).toBe(2);
  });
});

describe('questions', () => {
  it('are answered from the scene as they were made', () => {
    const random = new SeededRandom(12);
    for (let trial = 0; trial < 400; trial++) {
      const scene = drawScene(random, { kind: sceneKinds[trial % sceneKinds.length] });
      const { question, answer } = drawQuestion(scene, random);
      expect([question, answerFrom(scene, question)]).toEqual([question, answer]);
      const clip = drawClip(random);
      const asked = drawClipQuestion(clip, random);
      expect([asked.question, answerFrom(clip, asked.question)]).toEqual([asked.question, asked.answer]);
    }
    const scene = drawScene(random, { kind: 'single', split: 'seen' });
    expect(splitOf(scene)).toBe('seen');
    for (const question of ['why?', 'where is the moon?', 'is the sun above the moon?']) {
      expect(answerFrom(scene, question)).toBe('');
    }
  });

  it('are compared by what they say', () => {
    expect(normalised('  A red  car.\n')).toBe('a red car');
    expect(normalised(' a red car at the top left, a star at the bottom: Two stars.')).toBe('two stars');
    expect([elsewhere(0, 10), elsewhere(9, 10), elsewhere(0, 1), elsewhere(1, 2)]).toEqual([5, 4, 0, 0]);
    expect(codebookUsage([Uint32Array.of(1, 1, 2), [3, 3, 2]])).toMatchObject({
      used: 3,
      perplexity: expect.closeTo(3) as number,
    });
    expect(escapeHtml(`<a href="x">&'`)).toBe('&lt;a href=&quot;x&quot;&gt;&amp;&#39;');
  });
});
