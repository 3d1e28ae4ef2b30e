import { createRequire } from 'node:module';
import sharp from 'sharp';
import { Emu3Error } from '../../../kernels/core/errors.js';
import type { RgbImage } from '../../../tokenizer/index.js';
import { clipFrames, pictureSize, poseAt, type Pose, type Scene, type SceneObject } from './scene.js';
import { backgroundPaints, icons, paints, type Color, type Noun, type Style } from './words.js';

/** Artwork as it is kept: 96 x 96 pixels, RGBA with colours multiplied by alpha, 0 to 1. */
interface Sprite {
  readonly values: Float32Array;
}

const spriteSize = 96;
/** Samples along a side of a pixel. */
const samples = 4;

const packages: Record<Style, string> = {
  fluent: '@iconify-json/fluent-emoji-flat',
  noto: '@iconify-json/noto',
  twemoji: '@iconify-json/twemoji',
};

interface IconSet {
  icons: Record<string, { body: string; width?: number; height?: number } | undefined>;
  width?: number;
  height?: number;
}

const require = createRequire(import.meta.url);

/** All the artwork of the world, drawn once. Pictures and clips are made of it without waiting. */
export class Artwork {
  /** As the packages have them, and painted ones from the first time they are drawn. */
  private readonly sprites: Map<string, Sprite>;

  private constructor(sprites: Map<string, Sprite>) {
    this.sprites = sprites;
  }

  /** @throws Emu3Error `missing` when an artwork package lacks an icon. */
  static async load(): Promise<Artwork> {
    const sprites = new Map<string, Sprite>();
    for (const style of Object.keys(packages) as Style[]) {
      const set = require(`${packages[style]}/icons.json`) as IconSet;
      for (const noun of Object.keys(icons) as Noun[]) {
        sprites.set(spriteKey(style, noun, undefined), await renderIcon(set, style, icons[noun]));
      }
    }
    return new Artwork(sprites);
  }

  /**
   * A frame of a scene: `side` x `side` RGB bytes, rows from the top.
   *
   * @param frame from 0; a still scene looks the same in all.
   * @param side of the picture in pixels; the scene grows with it.
   */
  picture(scene: Scene, frame = 0, side = pictureSize): Uint8Array<ArrayBuffer> {
    const canvas = new Float32Array(side * side * 3);
    const background = backgroundPaints[scene.background];
    for (let at = 0; at < canvas.length; at++) canvas[at] = background[at % 3] / 255;
    const scale = side / pictureSize;
    for (const object of scene.objects) {
      const { x, y, size, angle } = poseAt(object, frame);
      const pose = { x: x * scale, y: y * scale, size: size * scale, angle };
      const sprite = this.sprite(scene.style, object);
      if (sprite) drawSprite(canvas, side, sprite, pose);
    }
    return Uint8Array.from(canvas, (value) => Math.round(value * 255));
  }

  private sprite(style: Style, { noun, color }: Pick<SceneObject, 'noun' | 'color'>): Sprite | undefined {
    const key = spriteKey(style, noun, color);
    const known = this.sprites.get(key);
    const plain = this.sprites.get(spriteKey(style, noun, undefined));
    if (known !== undefined || plain === undefined || color === undefined) return known;
    const made = painted(plain, color);
    this.sprites.set(key, made);
    return made;
  }

  /** All frames of a clip. */
  clip(scene: Scene, frames = clipFrames, side = pictureSize): Uint8Array<ArrayBuffer>[] {
    return Array.from({ length: frames }, (_, frame) => this.picture(scene, frame, side));
  }
}

/** The bytes of a square picture as what the library takes. */
export function squareImage(rgb: Uint8Array<ArrayBuffer>): RgbImage {
  const side = Math.sqrt(rgb.length / 3);
  return { rgb, width: side, height: side };
}

function spriteKey(style: Style, noun: Noun, color: Color | undefined): string {
  return `${style} ${color ?? 'plain'} ${noun}`;
}

async function renderIcon(set: IconSet, style: Style, icon: string): Promise<Sprite> {
  const artwork = set.icons[icon];
  if (artwork === undefined) {
    throw new Emu3Error('The artwork package has no icon of this name.', {
      code: 'missing',
      where: `${packages[style]}/${icon}`,
      fix: 'Install the version in package-lock.json with npm ci.',
    });
  }
  const width = artwork.width ?? set.width ?? 16;
  const height = artwork.height ?? set.height ?? 16;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `width="${spriteSize}" height="${spriteSize}" viewBox="0 0 ${width} ${height}">${artwork.body}</svg>`;
  // Artwork leaves different margins: cut to what is drawn, so that all things are of one size.
  const bytes = await sharp(Buffer.from(svg))
    .toColourspace('srgb')
    .trim({ background: '#00000000', threshold: 1 })
    .resize(spriteSize, spriteSize, { fit: 'contain', background: '#00000000' })
    .ensureAlpha()
    .raw()
    .toBuffer();
  const values = new Float32Array(bytes.length);
  for (let at = 0; at < bytes.length; at += 4) {
    const alpha = bytes[at + 3] / 255;
    values[at + 3] = alpha;
    for (let channel = 0; channel < 3; channel++) values[at + channel] = (bytes[at + channel] / 255) * alpha;
  }
  return { values };
}

/**
 * The sprite in shades of one colour: its median lightness becomes the colour itself, what is darker or lighter a shade
 * of it, so that the artwork's own drawing stays.
 */
function painted({ values }: Sprite, color: Color): Sprite {
  const pixels = values.length / 4;
  const lightness = new Float32Array(pixels);
  const drawn: number[] = [];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [red, green, blue, alpha] = values.subarray(pixel * 4, pixel * 4 + 4);
    if (alpha < 0.5) continue;
    lightness[pixel] = (0.3 * red + 0.59 * green + 0.11 * blue) / alpha;
    drawn.push(lightness[pixel]);
  }
  drawn.sort((a, b) => a - b);
  const median = drawn[Math.floor(drawn.length / 2)];
  const result = new Float32Array(values.length);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const alpha = values[pixel * 4 + 3];
    result[pixel * 4 + 3] = alpha;
    const shade = lightness[pixel] - median;
    for (let channel = 0; channel < 3; channel++) {
      const full = paints[color][channel] / 255;
      const darker = full * Math.max(0.3, 1 + 1.4 * shade);
      const lighter = full + (1 - full) * Math.min(0.75, 1.2 * shade);
      result[pixel * 4 + channel] = (shade < 0 ? darker : lighter) * alpha;
    }
  }
  return { values: result };
}

/** Lays a sprite over the canvas (premultiplied "over"), each pixel the mean of 4 x 4 samples. */
function drawSprite(canvas: Float32Array, side: number, { values }: Sprite, { x, y, size, angle }: Pose): void {
  if (size <= 0) return;
  const reach = (size / 2) * (angle === 0 ? 1 : Math.SQRT2);
  const scale = spriteSize / size;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const [top, bottom] = [Math.max(0, Math.floor(y - reach)), Math.min(side, Math.ceil(y + reach))];
  const [left, right] = [Math.max(0, Math.floor(x - reach)), Math.min(side, Math.ceil(x + reach))];
  const sum = new Float64Array(4);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      sum.fill(0);
      for (let sample = 0; sample < samples * samples; sample++) {
        const across = column + ((sample % samples) + 0.5) / samples - x;
        const down = row + (Math.floor(sample / samples) + 0.5) / samples - y;
        const u = Math.floor((across * cos + down * sin) * scale + spriteSize / 2);
        const v = Math.floor((down * cos - across * sin) * scale + spriteSize / 2);
        if (u < 0 || v < 0 || u >= spriteSize || v >= spriteSize) continue;
        const at = (v * spriteSize + u) * 4;
        for (let channel = 0; channel < 4; channel++) sum[channel] += values[at + channel];
      }
      const alpha = sum[3] / samples ** 2;
      const at = (row * side + column) * 3;
      for (let channel = 0; channel < 3; channel++) {
        canvas[at + channel] = sum[channel] / samples ** 2 + (1 - alpha) * canvas[at + channel];
      }
    }
  }
}
