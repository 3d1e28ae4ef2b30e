import { describe, expect, test } from 'vitest';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { ErrorCode } from '../../kernels/core/errors.js';
import { encodeSafetensors, memorySource, readHeader } from '../../loader/index.js';
import type { ByteSource } from '../../loader/index.js';
import { findDuplicateKey } from '../../loader/json.js';
import { expectError, fileWithHeader, randomNumbers, rejection } from './support.js';

const tensor = (dtype: unknown, shape: unknown, offsets: unknown): unknown => ({ dtype, shape, data_offsets: offsets });
const good = tensor('F32', [2, 3], [0, 24]);

function withLength(length: bigint, total: number): Uint8Array {
  const file = new Uint8Array(total);
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

interface BadCase {
  name: string;
  file: Uint8Array;
  code: ErrorCode;
  mentions: string[];
}

const bad = (name: string, header: unknown, bytes: number, code: ErrorCode, ...mentions: string[]): BadCase => ({
  name,
  file: fileWithHeader(header, bytes),
  code,
  mentions,
});

const BAD: BadCase[] = [
  { name: 'empty file', file: new Uint8Array(0), code: 'format', mentions: ['0 bytes'] },
  { name: 'seven bytes', file: new Uint8Array(7), code: 'format', mentions: ['7 bytes'] },
  { name: 'header longer than the file', file: withLength(1000n, 20), code: 'format', mentions: ['1000', '12'] },
  {
    name: 'header of 2^64-1 bytes',
    file: withLength(2n ** 64n - 1n, 20),
    code: 'format',
    mentions: ['18446744073709'],
  },
  { name: 'header of no bytes', file: withLength(0n, 8), code: 'format', mentions: ['JSON'] },
  { name: 'not UTF-8', file: withLength(4n, 12).fill(0xff, 8), code: 'format', mentions: ['UTF-8'] },
  bad('byte order mark', '\ufeff{}', 0, 'format', 'JSON'),
  bad('not JSON', '{"a":', 0, 'format', 'JSON'),
  bad('an array', '[]', 0, 'format', 'object'),
  bad('a string', '"abc"', 0, 'format', 'object'),
  bad('duplicate tensor', `{"a":${JSON.stringify(good)},"a":${JSON.stringify(good)}}`, 24, 'duplicate', '"a"'),
  bad('duplicate by escape', `{"a":${JSON.stringify(good)},"\\u0061":${JSON.stringify(good)}}`, 24, 'duplicate', '"a"'),
  bad(
    'duplicate field',
    '{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}',
    4,
    'duplicate',
    'dtype',
  ),
  bad('entry is a number', { a: 3 }, 0, 'format', ': a'),
  bad('unknown dtype', { a: tensor('F31', [2, 3], [0, 24]) }, 24, 'dtype', 'F31', ': a'),
  bad('dtype is an Object member', { a: tensor('toString', [1], [0, 4]) }, 4, 'dtype', 'toString'),
  bad('dtype absent', { a: { shape: [1], data_offsets: [0, 4] } }, 4, 'dtype', 'undefined'),
  bad('negative dimension', { a: tensor('F32', [-2, 3], [0, 24]) }, 24, 'shape', '-2', ': a'),
  bad('fractional dimension', { a: tensor('F32', [1.5], [0, 6]) }, 6, 'shape', '1.5'),
  bad('dimension is text', { a: tensor('F32', ['6'], [0, 24]) }, 24, 'shape', '"6"'),
  bad('shape is no list', { a: tensor('F32', 6, [0, 24]) }, 24, 'shape', '6'),
  bad('shape overflows', { a: tensor('U8', [2 ** 40, 2 ** 40], [0, 4]) }, 4, 'shape', 'too large'),
  bad('shape overflows before a zero', { a: tensor('U8', [2 ** 52, 2 ** 52, 0], [0, 0]) }, 0, 'shape', 'too large'),
  bad('dimension is 1e400', '{"a":{"dtype":"U8","shape":[1e400],"data_offsets":[0,4]}}', 4, 'shape', ': a'),
  bad('offsets beyond the file', { a: tensor('F32', [2, 3], [0, 24]) }, 20, 'format', ': a', 'file has'),
  bad('offsets far beyond the file', { a: tensor('F32', [2, 3], [2 ** 52, 2 ** 52 + 24]) }, 24, 'format', ': a'),
  bad('offsets reversed', { a: tensor('F32', [2, 3], [24, 0]) }, 24, 'format', 'backwards', ': a'),
  bad('negative offset', { a: tensor('F32', [2, 3], [-1, 23]) }, 24, 'format', 'data_offsets'),
  bad('three offsets', { a: tensor('F32', [2, 3], [0, 24, 24]) }, 24, 'format', 'data_offsets'),
  bad('size unlike shape', { a: tensor('F32', [2, 3], [0, 20]) }, 20, 'format', '24', '20', ': a'),
  bad('size unlike dtype', { a: tensor('F16', [2, 3], [0, 24]) }, 24, 'format', '12', '24'),
  bad('overlap', { a: good, b: tensor('F32', [2, 3], [20, 44]) }, 44, 'format', 'overlaps "a"', ': b'),
  bad('equal ranges', { a: good, b: good }, 24, 'format', 'overlaps'),
  bad('hole between', { a: good, b: tensor('U8', [4], [28, 32]) }, 32, 'format', 'hole of 4', ': b'),
  bad('hole in front', { a: tensor('U8', [4], [4, 8]) }, 8, 'format', 'hole of 4'),
  bad('bytes behind the last', { a: good }, 25, 'format', '1 bytes behind'),
  bad('metadata is a list', { __metadata__: [] }, 0, 'format', '__metadata__'),
  bad('metadata holds a number', { __metadata__: { step: 3 } }, 0, 'format', 'step'),
];

describe('bad headers', () => {
  test.each(BAD)('$name', async ({ file, code, mentions }) => {
    expectError(
      await rejection(readHeader(memorySource('bad.safetensors', file))),
      code,
      'bad.safetensors',
      ...mentions,
    );
  });

  test('a header above the limit of 100 MB is refused before it is read', async () => {
    const source: ByteSource = {
      name: 'huge.safetensors',
      size: 300_000_000,
      read: (_offset, length) => {
        expect(length).toBe(8);
        return Promise.resolve(withLength(100_000_001n, 8));
      },
      close: async () => {},
    };
    expectError(await rejection(readHeader(source)), 'format', '100000001', 'limit');
  });
});

describe('good headers', () => {
  test('scalars, empty tensors, unusual names, padding and unknown extra fields', async () => {
    const header = {
      __metadata__: { format: 'pt' },
      scalar: tensor('I64', [], [0, 8]),
      empty: tensor('F32', [0, 7], [8, 8]),
      __proto__x: tensor('BOOL', [3], [8, 11]),
      '7': { dtype: 'F4', shape: [2], data_offsets: [11, 12], extra: true },
    };
    const text = `${JSON.stringify(header)}   `.replace('__proto__x', '__proto__');
    const parsed = await readHeader(memorySource('good', fileWithHeader(text, 12)));
    expect([...parsed.tensors.keys()]).toEqual(['scalar', 'empty', '__proto__', '7']);
    expect(parsed.tensors.get('__proto__')?.byteLength).toBe(3);
    expect(parsed.tensors.get('scalar')?.shape).toEqual([]);
    expect(parsed.metadata.get('format')).toBe('pt');
  });

  test('a file without tensors', async () => {
    expect((await readHeader(memorySource('none', fileWithHeader({}, 0)))).tensors.size).toBe(0);
  });
});

test('duplicate keys are found at every depth and not invented', () => {
  expect(findDuplicateKey('{"a":{"b":1,"c":[{"b":1},{"b":1}]},"b":"a\\"b:{","c":"b"}')).toBeUndefined();
  expect(findDuplicateKey('{"a":[{"b":1 , "b" : 2}]}')).toBe('b');
  expect(findDuplicateKey('{"x":"\\\\","x":1}')).toBe('x');
  expect(findDuplicateKey('[["a","a"]]')).toBeUndefined();
});

test('10,000 mutated files: only typed errors, no read beyond the file, no hang', async () => {
  const random = randomNumbers(20240927);
  const below = (limit: number): number => Math.floor(random() * limit);
  const original = await encodeSafetensors(
    [
      { name: 'layers.0.weight', dtype: 'F32', shape: [4, 6], values: new Float32Array(24) },
      { name: 'layers.0.bias', dtype: 'BF16', shape: [6], values: new Float32Array(6) },
      { name: 'count', dtype: 'I64', shape: [], values: new BigInt64Array(1) },
    ],
    { metadata: { format: 'pt', note: 'é "quoted" \\ ' } },
  );
  const headerEnd = 8 + Number(new DataView(original.buffer).getBigUint64(0, true));
  const fragments = [
    '"',
    '\\',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '-',
    '9',
    '1e308',
    'null',
    '[0,0]',
    '"count":',
    '\u0000',
    '🙂',
  ];
  const mutate = (): Uint8Array => {
    let bytes: Uint8Array = original.slice();
    for (let edits = 1 + below(3); edits > 0; edits--) {
      const position = random() < 0.9 ? below(headerEnd) : below(bytes.length || 1);
      const kind = below(10);
      if (kind === 0) bytes[position] = below(256);
      else if (kind === 1) bytes[position] = (bytes[position] ?? 0) ^ (1 << below(8));
      else if (kind === 2) bytes = bytes.slice(0, below(bytes.length + 1));
      else if (kind === 3) bytes[below(8)] = below(256);
      else if (kind === 4) bytes = join(bytes.slice(0, position), bytes.slice(position + 1 + below(20)));
      else if (kind === 5) {
        const text = new TextEncoder().encode(fragments[below(fragments.length)] ?? '');
        bytes = join(bytes.slice(0, position), text, bytes.slice(position + (random() < 0.5 ? text.length : 0)));
      } else {
        const from = below(headerEnd);
        bytes = join(bytes.slice(0, position), bytes.slice(from, from + below(60)), bytes.slice(position));
      }
    }
    // Most cases keep a matching length, so that the damage reaches the JSON instead of the length check.
    if (random() < 0.8 && bytes.length >= 8) {
      const length = Math.max(0, Math.min(bytes.length - 8, headerEnd - 8 + bytes.length - original.length));
      new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(0, BigInt(length), true);
    }
    return bytes;
  };

  const outcomes = new Map<string, number>();
  for (let round = 0; round < 10_000; round++) {
    const bytes = mutate();
    const inner = memorySource('fuzz', bytes);
    let read = 0;
    const source: ByteSource = {
      ...inner,
      read: (offset, length, signal) => {
        read += length;
        return inner.read(offset, length, signal);
      },
    };
    let outcome = 'accepted';
    const started = performance.now();
    try {
      const header = await readHeader(source);
      let covered = header.dataStart;
      for (const { byteOffset, byteLength } of header.tensors.values()) {
        expect(byteOffset).toBe(covered);
        covered += byteLength;
      }
      expect(covered).toBe(bytes.length);
    } catch (error) {
      if (!(error instanceof Emu3Error)) throw error;
      expect(error.message.length).toBeLessThan(2000);
      outcome = error.code;
    }
    expect(performance.now() - started).toBeLessThan(1000);
    expect(read).toBeLessThanOrEqual(bytes.length);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  // The mutations must reach every check, or the fuzzing says little.
  for (const outcome of ['accepted', 'format', 'duplicate', 'dtype', 'shape']) {
    expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(20);
  }
});

function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}
