import { Emu3Error, type ErrorCode } from '../../kernels/core/errors.js';
import type { TokenResponse } from '../../engine/train/preference.js';
import { assertJsonValue, isRecord, parseJsonObject, quote, type JsonValue } from '../json.js';

/** One generated response to a prompt, with what the voters made of it. */
export interface PreferenceSample extends TokenResponse {
  /** The request in words. */
  readonly prompt: string;
  /** The prompt as the model read it, at least one id. */
  readonly promptIds: readonly number[];
  /** The very tokens that were sampled, at least one; training reuses them as they are (arXiv 2409.18869). */
  readonly responseIds: readonly number[];
  /** Seed of the sampler, an unsigned 32-bit integer. */
  readonly seed: number;
  /** Score by name of the voter: finite, higher is better, on a scale of the voter's own. */
  readonly scores: Readonly<Record<string, number>>;
}

/** All samples of a file, and the settings they were drawn with. */
export interface PreferenceSamples {
  readonly settings: JsonValue;
  readonly samples: readonly PreferenceSample[];
}

const formatName = 'emu3-preference-samples';
const formatVersion = 1;

/** The first line of a file. @throws Emu3Error `argument` for settings that JSON cannot hold. */
export function headerLine(settings: JsonValue): string {
  assertJsonValue(settings, 'settings');
  return `${JSON.stringify({ format: formatName, version: formatVersion, settings })}\n`;
}

/** @throws Emu3Error `format`, `duplicate`, `unsupported` for a newer version. */
export function parseHeaderLine(line: string, where: string): JsonValue {
  const { format, version, settings } = parseJsonObject(line, where);
  if (format !== formatName || settings === undefined) {
    throw new Emu3Error('The file does not begin as a file of preference samples does.', {
      code: 'format',
      where,
      fix: `Its first line says "format": "${formatName}", a version and settings; give the right file.`,
    });
  }
  if (version !== formatVersion) {
    throw new Emu3Error(`The samples have format version ${quote(version)}.`, {
      code: 'unsupported',
      where,
      fix: `This release reads version ${formatVersion}; use the release that wrote them.`,
    });
  }
  assertJsonValue(settings, 'settings');
  return settings;
}

/** A checked sample as one line. */
export function sampleLine(sample: PreferenceSample): string {
  return `${JSON.stringify(sample)}\n`;
}

/** @throws Emu3Error `format` naming the field, `duplicate`. */
export function parseSampleLine(line: string, where: string): PreferenceSample {
  return checkedSample(parseJsonObject(line, where), 'format', where);
}

type Fields = { readonly [Name in keyof PreferenceSample]: unknown };

/** The fields of a sample and no others. @throws Emu3Error of the given code, naming the field that is wrong. */
export function checkedSample(fields: Partial<Fields>, code: ErrorCode, where: string): PreferenceSample {
  const { prompt, promptIds, responseIds, seed, scores } = fields;
  const refuse = (field: keyof Fields, fix: string): Emu3Error =>
    new Emu3Error(`The field "${field}" is ${quote(fields[field])}.`, { code, where, fix });
  if (typeof prompt !== 'string') throw refuse('prompt', 'Give the prompt as text.');
  if (!isIds(promptIds)) throw refuse('promptIds', 'Give one token id or more.');
  if (!isIds(responseIds)) throw refuse('responseIds', 'Give one token id or more.');
  if (!isUint32(seed)) throw refuse('seed', 'Give a whole number from 0 to 4294967295.');
  if (!isScores(scores)) throw refuse('scores', 'Give an object with a finite number for each voter.');
  // In one order, so that the same samples are the same bytes.
  return { prompt, promptIds, responseIds, seed, scores };
}

function isUint32(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;
}

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every(isUint32);
}

function isScores(value: unknown): value is Record<string, number> {
  return isRecord(value) && Object.values(value).every((score) => Number.isFinite(score));
}
