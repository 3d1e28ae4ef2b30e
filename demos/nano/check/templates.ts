import { takeOffBackground } from './background.js';
import { labPicture } from './lab.js';
import { viewOf, type View } from './window.js';
import { objectSize, pictureSize, type Scene } from '../world/scene.js';
import { colors, nouns, styles, type Background, type Color, type Noun, type Style } from '../world/words.js';

/** Draws a scene, as `Artwork` does. */
export interface SceneRenderer {
  picture(scene: Scene, frame?: number, side?: number): Uint8Array<ArrayBuffer>;
}

/** A thing as the artwork has it, seen on a background. */
export interface Template {
  readonly noun: Noun;
  /** Undefined: the colours of the artwork. */
  readonly color: Color | undefined;
  readonly style: Style;
  readonly view: View;
}

/** Side of the pictures that templates are taken from. */
const templateSide = 40;
/** Turns of a template in a circle: those of a thing that spins slowly. */
export const turns = 16;

/** The views of every thing in every colour and style on every background, drawn when they are first asked for. */
export class TemplateBook {
  private readonly renderer: SceneRenderer;
  private readonly plain = new Map<Background, readonly Template[]>();
  private readonly turned = new Map<string, readonly View[]>();

  constructor(renderer: SceneRenderer) {
    this.renderer = renderer;
  }

  /** 12 nouns, 6 ways of painting, 3 styles: 216. */
  on(background: Background): readonly Template[] {
    let templates = this.plain.get(background);
    if (templates === undefined) {
      templates = styles.flatMap((style) =>
        nouns.flatMap((noun) =>
          [undefined, ...colors].map((color) => ({
            noun,
            color,
            style,
            view: this.draw({ noun, color, style }, background, 0),
          })),
        ),
      );
      this.plain.set(background, templates);
    }
    return templates;
  }

  /** The template turned clockwise by 0, 1, ... 15 sixteenths of a circle. */
  turnsOf(template: Omit<Template, 'view'>, background: Background): readonly View[] {
    const { noun, color, style } = template;
    const key = [background, style, color, noun].join(' ');
    let views = this.turned.get(key);
    if (views === undefined) {
      views = Array.from({ length: turns }, (_, turn) => this.draw(template, background, turn));
      this.turned.set(key, views);
    }
    return views;
  }

  private draw({ noun, color, style }: Omit<Template, 'view'>, background: Background, turn: number): View {
    // A thing of its usual size in a smaller picture.
    const scale = pictureSize / templateSide;
    const middle = pictureSize / 2;
    const object = { noun, color, x: middle, y: middle, size: objectSize * scale };
    // What spins at speed 2 turns by a sixteenth of a circle a frame.
    const scene: Scene = { style, background, objects: [{ ...object, motion: { kind: 'spins', speed: 2 } }] };
    const rgb = this.renderer.picture(scene, turn, templateSide);
    const foreground = takeOffBackground(labPicture({ rgb, width: templateSide, height: templateSide }));
    return viewOf(foreground, { x: templateSide / 2, y: templateSide / 2, size: objectSize });
  }
}
