import { describe, expect, it, vi } from 'vitest';
import { cli } from './support.js';

describe('usage', () => {
  it.each([
    [['frobnicate'], 'unknown command'],
    [['generate'], 'missing required argument'],
    [['generate', 'a tiger', '--colour'], 'unknown option'],
    [['generate', 'a tiger', '--guidance', 'NaN'], 'Give a number from 0'],
    [['generate', 'a tiger', '--guidance', '-1'], 'Give a number from 0'],
    [['generate', 'a tiger', '--temperature', '-0.5'], 'Give a number from 0'],
    [['generate', 'a tiger', '--top-k', '0'], 'Give a whole number from 1'],
    [['generate', 'a tiger', '--top-p', '0'], 'above 0 and up to 1'],
    [['generate', 'a tiger', '--top-p', '1.1'], 'above 0 and up to 1'],
    [['generate', 'a tiger', '--seed', '4294967296'], 'Give a whole number from 0'],
    [['generate', 'a tiger', '--count', '1.5'], 'Give a whole number'],
    [['generate', 'a tiger', '--size', '8'], 'rows x columns'],
    [['generate', 'a tiger', '--size', '0x8'], 'rows x columns'],
    [['generate', 'a tiger', '--ratio', '16/9'], 'colon'],
    [['generate', 'a tiger', '--ratio', '1:1', '--size', '8x8'], 'cannot be used with'],
    [['generate', 'a tiger', '--adapter', 'abacus'], 'Allowed choices'],
    [['train', 'giant', '--run', 'a', '--output', 'b'], 'Allowed choices'],
    [['train', 'nano', '--output', 'b'], '--run'],
    [['eval', '--prompts', '0'], 'Give a whole number from 1'],
  ])('refuses %j with exit code 2', async (args, message) => {
    const { code, out, err } = await cli(args);
    expect(code).toBe(2);
    expect(err).toContain(message);
    expect(out).toBe('');
  });

  it('prints version and help on stdout', async () => {
    const version = await cli(['--version']);
    expect(version).toMatchObject({ code: 0, err: '' });
    expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/);
    const help = await cli(['generate', '--help']);
    expect(help.code).toBe(0);
    for (const option of ['--guidance', '--top-k', '--ratio', '--json']) expect(help.out).toContain(option);
  });
});

describe('failures', () => {
  it('shows where they come from when asked to', async () => {
    const args = ['decode', 'no-such-file.json', '--model', 'no-such-folder'];
    expect((await cli(args)).err).not.toMatch(/\n\s+at /);
    vi.stubEnv('EMU3_DEBUG', '1');
    expect((await cli(args)).err).toMatch(/\n\s+at /);
    vi.unstubAllEnvs();
  });
});

describe('devices', () => {
  it('names the adapter that is taken, with limits and features', async () => {
    const { code, out } = await cli(['devices', '--json']);
    expect(code).toBe(0);
    const { taken, adapters } = JSON.parse(out) as {
      taken: { kind: string; tier: string; limits: Record<string, number>; enabledFeatures: string[] };
      adapters: { preference: string; kind?: string }[];
    };
    expect(taken.tier).toBe('adapter');
    expect(taken.limits['maxStorageBufferBindingSize']).toBeGreaterThanOrEqual(128 << 20);
    expect(Object.keys(taken.limits).length).toBeGreaterThan(20);
    expect(adapters.map(({ preference }) => preference)).toEqual(['gpu', 'lavapipe', 'swiftshader']);
    expect(adapters.some(({ kind }) => kind === taken.kind)).toBe(true);
  });

  it('lists them for people', async () => {
    const { code, out } = await cli(['devices']);
    expect(code).toBe(0);
    expect(out).toMatch(/^taken: \S/m);
    expect(out).toMatch(/maxBufferSize \d/);
  });
});
