import type { Device } from '../../engine/device.js';
import { diskCache, diskFolder, type CacheOutcome, type CacheStore } from '../../loader/index.node.js';
import { describeBudget } from '../../loader/memory/budget.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { findModel, requireTransformer, requireVision } from './model.js';
import type { ModelChoice } from './options.js';
import { withProgress } from './progress.js';
import { formatBytes, formatPercent } from './report.js';
import { withDevice, type Terminal } from './terminal.js';

/** Loads a whole model for the time of `use`, with a bar while its weights are read. */
export async function withModel<Result>(
  terminal: Terminal,
  choice: ModelChoice,
  use: (emu3: Emu3, device: Device) => Promise<Result>,
): Promise<Result> {
  const parts = await findModel(choice.model, terminal);
  const folder = requireTransformer(parts);
  const visionFolder =
    choice.vision === undefined ? requireVision(parts) : requireVision(await findModel(choice.vision, terminal));
  const cache = choice.cache === false ? undefined : diskCache();
  return withDevice(terminal, choice, async (device) => {
    // A software adapter's memory is this machine's.
    const free = device.traits.software ? process.availableMemory() : undefined;
    const limit = choice.memory === undefined ? free : choice.memory * 2 ** 30;
    const emu3 = await withProgress(terminal, 'loading', 100, (bar) =>
      Emu3.load({
        device,
        folder,
        visionFolder,
        weights: choice.weights ?? 'f32',
        ...(choice.cacheType && { cacheType: choice.cacheType }),
        ...(limit !== undefined && { memoryLimit: limit }),
        onBudget: (budget) => {
          if (budget.total >= toldBytes) terminal.err(`memory: ${describeBudget(budget)}\n`);
        },
        ...(cache && {
          cache,
          cacheFrom: choice.cache ? 0 : keptBytes,
          onCache: (outcome) => terminal.err(`${describeCache(cache, outcome)}\n`),
        }),
        ...(choice.windows && { windows: choice.windows }),
        ...(choice.stagger !== undefined && { stagger: choice.stagger }),
        ...(choice.loraFolder !== undefined && { adapters: diskFolder(choice.loraFolder) }),
        signal: terminal.signal,
        onProgress: ({ part, loadedBytes, totalBytes }) =>
          bar.update(
            Math.floor((100 * loadedBytes) / Math.max(1, totalBytes)),
            `% of ${part}, ${formatBytes(totalBytes)}`,
          ),
      }),
    );
    if (emu3.packing.size > 0) terminal.err(`${describePacking(emu3)}\n`);
    return use(emu3, device);
  });
}

/** What a model takes is told from here. */
const toldBytes = 2 ** 28;

/** Models from this size are kept packed unless it is forbidden, smaller ones only when it is asked for. */
const keptBytes = 2 ** 30;

function describeCache({ name }: CacheStore, outcome: CacheOutcome): string {
  switch (outcome.kind) {
    case 'read':
      return `packed weights from ${name}`;
    case 'written':
      return `packed weights kept in ${name}; "emu3 cache" lists and removes them`;
    case 'replaced':
      return `packed weights made anew: ${outcome.reason.message}`;
    case 'not written':
      return `packed weights not kept: ${outcome.reason.message}`;
    case 'not used':
      return 'packed weights not kept: the files have no version';
  }
}

/** How far packing took the weights from the file's. */
function describePacking({ packing, parameters }: Emu3): string {
  const errors = [...packing].map(([name, { relativeRms }]) => ({ name, relativeRms }));
  const worst = errors.reduce((most, error) => (error.relativeRms > most.relativeRms ? error : most));
  const mean = errors.reduce((sum, { relativeRms }) => sum + relativeRms, 0) / errors.length;
  return [
    `${errors.length} weights packed, ${formatBytes(parameters.bytes)} on the GPU; relative error`,
    `${formatPercent(mean)} on average, ${formatPercent(worst.relativeRms)} at most (${worst.name})`,
  ].join(' ');
}
