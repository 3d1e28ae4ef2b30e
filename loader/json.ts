import { Emu3Error } from '../kernels/core/errors.js';
import type { ErrorCode } from '../kernels/core/errors.js';

/** What JSON can hold: the only values a trainer state may be made of. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * First key that occurs twice in one object of `text`, at any depth; undefined when there is none.
 * `text` must already have been accepted by JSON.parse, which keeps the last of two equal keys without a word.
 */
export function findDuplicateKey(text: string): string | undefined {
  // One entry per open bracket: the keys seen so far in an object, null in an array.
  const open: (Set<string> | null)[] = [];
  let position = 0;
  while (position < text.length) {
    const character = text.charCodeAt(position);
    if (character === QUOTE) {
      const start = position;
      const end = afterString(text, start);
      position = afterSpace(text, end);
      const keys = open.at(-1);
      if (keys && text.charCodeAt(position) === COLON) {
        const key = String(JSON.parse(text.slice(start, end)));
        if (keys.has(key)) return key;
        keys.add(key);
      }
      continue;
    }
    if (character === OPEN_BRACE) open.push(new Set());
    else if (character === OPEN_BRACKET) open.push(null);
    else if (character === CLOSE_BRACE || character === CLOSE_BRACKET) open.pop();
    position++;
  }
  return undefined;
}

function afterString(text: string, start: number): number {
  let position = start + 1;
  while (position < text.length && text.charCodeAt(position) !== QUOTE) {
    position += text.charCodeAt(position) === BACKSLASH ? 2 : 1;
  }
  return position + 1;
}

function afterSpace(text: string, start: number): number {
  let position = start;
  while (position < text.length && text.charCodeAt(position) <= 0x20) position++;
  return position;
}

/**
 * Parses a JSON object, refusing repeated keys.
 * @throws Emu3Error `format` (or the given code) when the text is not JSON or not an object, `duplicate` on a repeated key.
 */
export function parseJsonObject(text: string, where: string, code: ErrorCode = 'format'): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Emu3Error('The file is not valid JSON.', {
      code,
      where,
      fix: 'Download it again or correct its syntax.',
      cause,
    });
  }
  if (!isRecord(value)) {
    throw new Emu3Error('The JSON must be an object.', { code, where, fix: 'Start it with "{" and end it with "}".' });
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    throw new Emu3Error(`The key "${shorten(duplicate)}" occurs twice.`, {
      code: 'duplicate',
      where,
      fix: 'Keep one of the two entries; which one was meant cannot be told.',
    });
  }
  return value;
}

/**
 * Checks that `value` survives JSON unchanged (no NaN, undefined, functions, class instances).
 * @throws Emu3Error `argument` naming the path of the first value that would not.
 */
export function assertJsonValue(value: unknown, path: string): asserts value is JsonValue {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return;
    throw notJson(path, String(value));
  }
  if (Array.isArray(value)) {
    value.forEach((item, index) => assertJsonValue(item, `${path}[${index}]`));
    return;
  }
  if (isRecord(value) && Object.getPrototypeOf(value) === Object.prototype) {
    for (const [key, item] of Object.entries(value)) assertJsonValue(item, `${path}.${key}`);
    return;
  }
  throw notJson(path, typeof value);
}

function notJson(path: string, found: string): Emu3Error {
  return new Emu3Error(`A ${found} cannot be stored as JSON.`, {
    code: 'argument',
    where: path,
    fix: 'Use finite numbers, strings, booleans, null, arrays and plain objects only.',
  });
}

/** A parsed JSON value, as messages show it. */
export function quote(value: unknown, length = 120): string {
  return value === undefined ? 'undefined' : shorten(JSON.stringify(value), length);
}

/** Names from a hostile file can be megabytes long; messages quote the beginning only. */
export function shorten(text: string, length = 120): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}
