import { createRequire } from 'node:module';
import sharp from 'sharp';
import { Emu3Error } from '../../../kernels/core/errors.js';

/** The artwork packages by their style word: Fluent Emoji (flat) by Microsoft, Noto Emoji by Google. */
export const STYLES = ['fluent', 'noto'] as const;
export type Style = (typeof STYLES)[number];

/** Side of every rendered picture in pixels. */
export const PICTURE_SIZE = 64;

/** An emoji of the Unicode list as emojibase describes it, with the icon that shows it. */
export interface EmojiEntry {
  /** The icon's name inside its artwork package. */
  icon: string;
  label: string;
  tags: string[];
  /** Emojibase group: 0 smileys, 1 people, 3 animals, 4 food, 5 travel, 6 activities, 7 objects, 8 symbols, 9 flags. */
  group: number;
}

interface IconSet {
  icons: Record<string, { body: string; width?: number; height?: number }>;
  width?: number;
  height?: number;
}

interface EmojibaseRecord {
  label: string;
  hexcode: string;
  tags?: string[];
  group?: number;
}

const PACKAGES: Record<Style, string> = { fluent: '@iconify-json/fluent-emoji-flat', noto: '@iconify-json/noto' };

const require = createRequire(import.meta.url);
const iconSets = new Map<Style, IconSet>();
const pictures = new Map<string, Promise<Uint8Array>>();

function iconSet(style: Style): IconSet {
  const loaded = iconSets.get(style) ?? (require(`${PACKAGES[style]}/icons.json`) as IconSet);
  iconSets.set(style, loaded);
  return loaded;
}

/** Whether the artwork package of the style has an icon of this name. */
export function hasIcon(style: Style, icon: string): boolean {
  return icon in iconSet(style).icons;
}

/**
 * Every emoji of the style that stands for one thing, in the order of the emojibase list: no skin tones (emojibase
 * lists them apart), no flags, no bare components such as regional indicators.
 */
export function listEmoji(style: Style): EmojiEntry[] {
  const characters = require(`${PACKAGES[style]}/chars.json`) as Record<string, string>;
  const iconOf = new Map(Object.entries(characters).map(([code, icon]) => [plainCode(code), icon]));
  const records = require('emojibase-data/en/data.json') as EmojibaseRecord[];
  const entries: EmojiEntry[] = [];
  const seen = new Set<string>();
  for (const { label, hexcode, tags, group } of records) {
    const icon = iconOf.get(plainCode(hexcode));
    if (icon === undefined || group === undefined || group === 2 || group === 9) continue;
    if (seen.has(icon) || !hasIcon(style, icon)) continue;
    seen.add(icon);
    entries.push({ icon, label, tags: tags ?? [], group });
  }
  return entries;
}

/** The code points without the variation selector, which the packages write or leave out as they please. */
function plainCode(code: string): string {
  return code.toLowerCase().replaceAll('-fe0f', '');
}

/**
 * Draws one icon on white: RGB, rows from the top, `PICTURE_SIZE` x `PICTURE_SIZE` x 3 bytes. The same bytes come back
 * from a cache in memory the second time; do not change them.
 * @throws Emu3Error `missing` when the package has no icon of that name.
 */
export function renderIcon(style: Style, icon: string): Promise<Uint8Array> {
  const key = `${style}/${icon}`;
  let picture = pictures.get(key);
  if (picture === undefined) {
    picture = drawIcon(style, icon);
    pictures.set(key, picture);
  }
  return picture;
}

async function drawIcon(style: Style, icon: string): Promise<Uint8Array> {
  const set = iconSet(style);
  const artwork = set.icons[icon];
  if (artwork === undefined) {
    throw new Emu3Error('The artwork package has no icon of this name.', {
      code: 'missing',
      where: `${PACKAGES[style]}/${icon}`,
      fix: 'Install the version in package-lock.json with npm ci, or take the concept out of the list.',
    });
  }
  const width = artwork.width ?? set.width ?? 16;
  const height = artwork.height ?? set.height ?? 16;
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `width="${PICTURE_SIZE}" height="${PICTURE_SIZE}" viewBox="0 0 ${width} ${height}">${artwork.body}</svg>`;
  const pixels = await sharp(Buffer.from(svg))
    .flatten({ background: 'white' })
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer();
  return new Uint8Array(pixels);
}
