import type { Command } from 'commander';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { diskCache, type CacheEntry, type CacheStore } from '../../../loader/index.node.js';
import { jsonOption } from '../options.js';
import { jsonText } from '../output.js';
import { formatBytes, formatTable } from '../report.js';
import type { Terminal } from '../terminal.js';

export function addCache(program: Command, terminal: Terminal): void {
  const cache = program
    .command('cache')
    .description('packed models that are kept between loads ($EMU3_CACHE says where)');
  cache
    .command('ls')
    .description('list them')
    .addOption(jsonOption())
    .action((options: { json?: boolean }) => list(terminal, diskCache(), options));
  cache
    .command('rm')
    .description('remove some, or all')
    .argument('[keys...]', 'as listed')
    .option('--all', 'every one')
    .addOption(jsonOption())
    .action((keys: string[], options: { all?: boolean; json?: boolean }) =>
      remove(terminal, diskCache(), keys, options),
    );
}

async function list(terminal: Terminal, store: CacheStore, { json }: { json?: boolean }): Promise<void> {
  const entries = await store.list();
  if (json) {
    terminal.out(jsonText({ folder: store.name, entries }));
    return;
  }
  if (entries.length === 0) terminal.out(`no packed models in ${store.name}\n`);
  else terminal.out(`${formatTable(['key', 'size', 'written'], entries.map(row))}\n`);
}

function row({ key, bytes, modified }: CacheEntry): string[] {
  return [key, formatBytes(bytes), modified?.toISOString().slice(0, 16).replace('T', ' ') ?? ''];
}

async function remove(
  terminal: Terminal,
  store: CacheStore,
  keys: readonly string[],
  { all, json }: { all?: boolean; json?: boolean },
): Promise<void> {
  if (keys.length === 0 && !all) {
    throw new Emu3Error('Nothing was named.', { code: 'argument', where: 'cache rm', fix: 'Give keys, or --all.' });
  }
  const entries = await store.list();
  const known = new Map(entries.map((entry) => [entry.key, entry]));
  const unknown = keys.find((key) => !known.has(key));
  if (unknown !== undefined) {
    throw new Emu3Error(`There is no packed model ${unknown}.`, {
      code: 'missing',
      where: store.name,
      fix: 'Give keys as "emu3 cache ls" lists them.',
    });
  }
  const chosen = all ? [...known.keys()] : keys;
  const removed: string[] = [];
  for (const key of chosen) if (await store.remove(key)) removed.push(key);
  const bytes = removed.reduce((sum, key) => sum + (known.get(key)?.bytes ?? 0), 0);
  if (json) terminal.out(jsonText({ removed, bytes }));
  else terminal.out(`removed ${removed.length}, ${formatBytes(bytes)}\n`);
}
