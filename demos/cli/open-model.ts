import type { Device } from '../../engine/device.js';
import { diskFolder } from '../../loader/index.node.js';
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
  const parts = await findModel(choice.model);
  requireTransformer(parts);
  const visionFolder = requireVision(parts);
  return withDevice(terminal, choice, async (device) => {
    const emu3 = await withProgress(terminal, 'loading', 100, (bar) =>
      Emu3.load({
        device,
        folder: diskFolder(parts.path),
        visionFolder,
        weights: choice.weights ?? 'f32',
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
