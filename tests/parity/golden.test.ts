import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Bench } from './case.js';
import { discoverCases } from './discover.js';
import { Recording } from './recording.js';

const recording = await Recording.open(fileURLToPath(new URL('../golden', import.meta.url)));
const cases = await discoverCases(recording);
const bench = new Bench(recording);

afterAll(() => bench.close());

describe('recordings of the original code', () => {
  // The slowest adapter compiles some of these for minutes on a busy machine.
  it.each(cases)('$name', { timeout: 600_000 }, async ({ run }) => {
    const checks = await run(bench);
    expect(checks.filter(({ pass }) => !pass)).toEqual([]);
    expect(checks).not.toEqual([]);
  });
});
