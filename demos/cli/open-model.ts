import type { Device } from '../../engine/device.js';
import { diskFolder } from '../../loader/index.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { findModel, requireTransformer, requireVision } from './model.js';
import type { RunChoice } from './options.js';
import { withProgress } from './progress.js';
import { formatBytes } from './report.js';
import { withDevice, type Terminal } from './terminal.js';

/** Loads a whole model for the time of `use`, with a bar while its weights are read. */
export async function withModel<Result>(
  terminal: Terminal,
  choice: RunChoice,
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
        signal: terminal.signal,
        onProgress: ({ part, loadedBytes, totalBytes }) =>
          bar.update(
            Math.floor((100 * loadedBytes) / Math.max(1, totalBytes)),
            `% of ${part}, ${formatBytes(totalBytes)}`,
          ),
      }),
    );
    return use(emu3, device);
  });
}
