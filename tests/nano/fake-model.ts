import { parseClipCaption } from '../../demos/nano/eval/caption-parser.js';
import { genevalTasks, promptsOf, sceneFor } from '../../demos/nano/eval/geneval-prompts.js';
import type { EvaluatedModel } from '../../demos/nano/eval/model.js';
import { answerFrom } from '../../demos/nano/eval/oracle.js';
import type { SceneRenderer } from '../../demos/nano/check/templates.js';
import { fullCaption, fullClipCaption, motionPhrase } from '../../demos/nano/world/captions.js';
import { squareImage } from '../../demos/nano/world/draw.node.js';
import { reasonedAnswer } from '../../demos/nano/world/questions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { drawClip, drawScene, type Scene, type SceneObject } from '../../demos/nano/world/scene.js';
import { colors, motionKinds, nouns } from '../../demos/nano/world/words.js';
import type { RgbImage } from '../../tokenizer/index.js';

function keyOf(rgb: Uint8Array): string {
  return Buffer.from(rgb).toString('latin1');
}

/** A renderer that remembers what each picture shows, so that a model of its own can know. */
export class KnowingRenderer implements SceneRenderer {
  private readonly renderer: SceneRenderer;
  private readonly known = new Map<string, Scene>();

  constructor(renderer: SceneRenderer) {
    this.renderer = renderer;
  }

  picture(scene: Scene, frame = 0, side = 64): Uint8Array<ArrayBuffer> {
    const rgb = this.renderer.picture(scene, frame, side);
    this.known.set(keyOf(rgb), scene);
    return rgb;
  }

  image(scene: Scene, frame = 0): RgbImage {
    return squareImage(this.renderer.picture(scene, frame, 64));
  }

  lookUp({ rgb }: RgbImage): Scene {
    const found = this.known.get(keyOf(rgb));
    if (found === undefined) throw new Error('a picture that was never drawn');
    return found;
  }
}

/** What enters is not to be seen in the first frames. */
const middleFrame = 6;
const codebookSize = 64;

/** A model that does everything right. */
export function perfectModel(world: KnowingRenderer): EvaluatedModel {
  const prompts = new Map(genevalTasks.flatMap((task) => promptsOf(task).map((prompt) => [prompt.prompt, prompt])));
  const sceneOf = (clip: readonly RgbImage[]): Scene => world.lookUp(clip[middleFrame]);
  return {
    codebookSize,
    draw: async (requests) =>
      requests.map(({ prompt, seed }) => {
        const [short] = prompt.split(',');
        const asked = prompts.get(short);
        if (asked === undefined) throw new Error(`unknown prompt ${prompt}`);
        return world.image(sceneFor(asked, new SeededRandom(seed)));
      }),
    rewrite: async (requests) =>
      requests.map(({ prompt, context }) => {
        const background = context ? world.lookUp(context[0]).background : 'pink';
        return `${prompt}, ${background} background`;
      }),
    film: async (requests) =>
      requests.map(({ prompt, seed, frames }) => {
        const scene = filmScene(prompt, new SeededRandom(seed));
        return Array.from({ length: frames }, (_, frame) => world.image(scene, frame));
      }),
    extend: async (requests) =>
      requests.map(({ prompt, context, frames }) => {
        const scene = world.lookUp(context[context.length - 1]);
        const written = / (\w+) background$/.exec(prompt)?.[1];
        if (written !== undefined && written !== scene.background) throw new Error(`${prompt}, of another clip`);
        return Array.from({ length: frames }, (_, index) => world.image(scene, context.length + index));
      }),
    answer: async (requests) =>
      requests.map(({ image, question }) => {
        const scene = world.lookUp(image);
        return ` ${reasonedAnswer(scene, { question, answer: answerFrom(scene, question) })}`;
      }),
    answerClip: async (requests) => requests.map(({ clip, question }) => `${answerFrom(sceneOf(clip), question)}.`),
    caption: async (images) => images.map((image) => fullCaption(world.lookUp(image))),
    captionClip: async (clips) => clips.map((clip) => ` ${fullClipCaption(sceneOf(clip))}`),
    reconstruct: async (clips) =>
      clips.map((frames) => ({ frames, codes: Uint32Array.from({ length: codebookSize }, (_, index) => index) })),
  };
}

/** The clip that a caption such as "a red car moves left slowly" asks for. */
function filmScene(prompt: string, random: SeededRandom): Scene {
  const { color, motion, speed } = parseClipCaption(prompt);
  const noun = nouns.find((each) => motion[0].startsWith(`${each} `));
  const kind = motionKinds.find(
    (each) => motion[0] === `${String(noun)} ${motionPhrase({ kind: each, speed: 2 }, false)}`,
  );
  if (noun === undefined || kind === undefined) throw new Error(`unknown prompt ${prompt}`);
  const pace = speed[0].endsWith('quickly') ? 3 : 2;
  for (;;) {
    const scene = drawClip(random, { kind });
    const [thing] = scene.objects;
    if (thing.motion?.speed !== pace) continue;
    const asked: SceneObject = { ...thing, noun, color: colors.find((each) => color[0].startsWith(each)) };
    return { ...scene, objects: [asked] };
  }
}

/** A model that answers as it likes. */
export function randomModel(world: KnowingRenderer, seed: number): EvaluatedModel {
  const random = new SeededRandom(seed);
  const film = (frames: number): RgbImage[] => {
    const scene = drawClip(random);
    return Array.from({ length: frames }, (_, frame) => world.image(scene, frame));
  };
  const answer = (): string => (random.next() < 0.5 ? 'yes' : 'no');
  return {
    codebookSize,
    draw: async (requests) => requests.map(() => world.image(drawScene(random, { kind: 'position' }))),
    film: async (requests) => requests.map(({ frames }) => film(frames)),
    extend: async (requests) => requests.map(({ frames }) => film(frames)),
    answer: async (requests) => requests.map(answer),
    answerClip: async (requests) => requests.map(answer),
    caption: async (images) => images.map(() => fullCaption(drawScene(random, { kind: 'mixed' }))),
    captionClip: async (clips) => clips.map(() => 'a something'),
  };
}
