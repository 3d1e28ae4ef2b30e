import { describe, expect, it } from 'vitest';
import { motionPhrase, phraseOf } from '../../demos/nano/world/captions.js';
import { Artwork, squareImage } from '../../demos/nano/world/draw.node.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { drawClip, framesPerSecond, type Scene } from '../../demos/nano/world/scene.js';
import { diskFolder } from '../../loader/index.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import type { PromptToRewrite } from '../../loader/pipeline/rewrite.js';
import { testDevice } from '../support/gpu.js';
import { model } from './own-pictures.js';

/** Frames that are given: two latent frames. */
const given = 8;

describe('the shipped model, given the beginning of a clip and what moves in it', () => {
  it('writes down what stands beside it as well, which it cannot know without the beginning', async () => {
    const random = new SeededRandom(77);
    const scenes: Scene[] = [];
    while (scenes.length < 16) {
      const scene = drawClip(random, { split: 'seen' });
      if (scene.objects.length === 2) scenes.push(scene);
    }
    const artwork = await Artwork.load();
    const emu3 = await Emu3.load({ device: await testDevice(), folder: diskFolder(model) });
    const asked = [];
    for (const [seed, scene] of scenes.entries()) {
      const [{ noun, color, motion }] = scene.objects;
      const prompt = `${phraseOf({ noun, color })} ${motion ? motionPhrase(motion, true) : 'stands still'}`;
      const frames = artwork.clip(scene, given).map(squareImage);
      asked.push({ prompt, seed, beginning: await emu3.encodeClip(frames, { framesPerSecond }) });
    }
    const named = async (requests: readonly PromptToRewrite[]): Promise<number> => {
      const told = await emu3.rewritePrompts(requests);
      return told.filter((words, index) => words.includes(`, ${phraseOf(scenes[index].objects[1])} `)).length;
    };
    const [seen, unseen] = [await named(asked), await named(asked.map(({ prompt, seed }) => ({ prompt, seed })))];
    // Of 16; pictures of things a model of this size has not learned to tell apart are among them.
    expect(seen).toBeGreaterThanOrEqual(9);
    expect(unseen).toBeLessThanOrEqual(3);
    await emu3.destroy();
  });
});
