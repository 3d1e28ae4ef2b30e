// Checkpoints of the released size on this machine: made with random weights, loaded packed, decoded, compared.
import { Command } from 'commander';
import { formatBytes, formatPercent } from '../../demos/cli/report.js';
import { numberOption } from '../../demos/cli/options.js';
import { startProgress } from '../../demos/cli/progress.js';
import { processTerminal, withDevice } from '../../demos/cli/terminal.js';
import type { AdapterPreference } from '../../engine/adapter/request.node.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import { compareLogits } from './compare.js';
import { decodeSteps, loadFullSize } from './load.js';
import { makeFullSize, makeFullSizeVision } from './make.js';
import { decodePicture } from './picture.js';

const terminal = processTerminal();
const whole = numberOption({ from: 1, whole: true });
const print = (label: string, value: string): void => terminal.out(`${label.padEnd(34)}${value}\n`);
const seconds = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} s`;

async function written(
  write: (progress: { onProgress: (bytes: number, total: number) => void; signal: AbortSignal }) => Promise<number>,
): Promise<void> {
  const bar = startProgress(terminal, 'writing', 1);
  const start = performance.now();
  const onProgress = (bytes: number, total: number): void =>
    bar.update(bytes, `${formatBytes(bytes)} of ${formatBytes(total)}`, total);
  const bytes = await write({ onProgress, signal: terminal.signal });
  bar.stop();
  print('written', `${formatBytes(bytes)} in ${seconds((performance.now() - start) / 1000)}`);
}

const program = new Command('full-size').description('the released checkpoints’ size, with random weights');

program
  .command('make')
  .description('write a checkpoint with the names, shapes, element types and shards of the released one')
  .argument('<folder>')
  .option('--layers <n>', 'layers; fewer for a cut-down copy', whole, 32)
  .option('--seed <n>', 'of the weights', numberOption({ from: 0, whole: true }), 1)
  .action(async (folder: string, options: { layers: number; seed: number }) =>
    written((progress) => makeFullSize(folder, { ...options, ...progress })),
  );

program
  .command('make-vision')
  .description('write a vision tokenizer with the names, shapes and element type of the released one')
  .argument('<folder>')
  .option('--seed <n>', 'of the weights', numberOption({ from: 0, whole: true }), 1)
  .action(async (folder: string, options: { seed: number }) =>
    written((progress) => makeFullSizeVision(folder, { ...options, ...progress })),
  );

program
  .command('picture')
  .description("decode a picture of random tokens within WebGPU's default limits, and measure seconds and memory")
  .argument('<folder>', 'of the vision tokenizer')
  .option('--side <n>', 'of the picture in pixels', whole, 720)
  .option('--adapter <kind>', 'what computes')
  .action(async (folder: string, options: { side: number; adapter?: AdapterPreference }) => {
    const bar = startProgress(terminal, 'decoding', 1);
    const figures = await decodePicture(folder, {
      ...options,
      log: (line) => terminal.err(`${line}\n`),
      signal: terminal.signal,
      onPart: (done, total) => bar.update(done, `${done} of ${total}`, total),
    });
    bar.stop();
    print('weights on the GPU', formatBytes(figures.weightBytes));
    print('activations, planned', formatBytes(figures.plannedBytes));
    print('on the GPU besides the weights', formatBytes(figures.takenBytes));
    print('largest buffer', formatBytes(figures.largestBytes));
    print('loading', seconds(figures.loadSeconds));
    print('decoding, with compiling', seconds(figures.decodeSeconds));
    print('pixels', `mean ${figures.mean.toFixed(4)}, deviation ${figures.deviation.toFixed(4)}, all finite`);
  });

program
  .command('load')
  .description('load it packed, and measure: seconds, memory, guided steps, and with --compare the logits')
  .argument('<folder>')
  .option('--format <format>', 'q4 or q8', 'q4')
  .option('--steps <n>', 'guided steps to decode', whole, 8)
  .option('--context <n>', 'positions of the key-value cache', whole, 512)
  .option('--compare <tokens>', 'compare logits of so many tokens with float64 (a copy of few layers)', whole)
  .option('--adapter <kind>', 'what computes')
  .action(
    async (
      folder: string,
      options: {
        format: QuantizationFormat;
        steps: number;
        context: number;
        compare?: number;
        adapter?: AdapterPreference;
      },
    ) => {
      await withDevice(terminal, options, async (device) => {
        const bar = startProgress(terminal, 'loading', 1);
        const { config, parameters, figures } = await loadFullSize(device, folder, {
          format: options.format,
          signal: terminal.signal,
          onProgress: (loaded, total) => bar.update(loaded, `${formatBytes(loaded)} of ${formatBytes(total)}`, total),
        });
        bar.stop();
        print('files', formatBytes(figures.fileBytes));
        print('reading them alone', seconds(figures.readSeconds));
        print('loading them packed', seconds(figures.loadSeconds));
        print('weights on the GPU, planned', formatBytes(figures.plannedBytes));
        print('weights on the GPU', formatBytes(figures.weightBytes));
        print('most host memory besides', formatBytes(figures.peakHostBytes));
        print(
          'error of a weight, rms and worst',
          `${formatPercent(figures.rmsError)}, ${formatPercent(figures.worstError)}`,
        );
        const steps = await decodeSteps(device, config, parameters, options);
        print('compiling', seconds(steps.compileSeconds));
        print('prefill and one step', seconds(steps.prefillSeconds));
        print(`each of ${options.steps} guided steps`, `${seconds(steps.stepSeconds)}, ${steps.dispatches} dispatches`);
        print('key-value cache', formatBytes(steps.cacheBytes));
        print('activations', formatBytes(steps.activationBytes));
        print('ids', steps.ids.join(' '));
        if (options.compare !== undefined) {
          const { kernels, packing, sameTop } = await compareLogits(
            device,
            folder,
            config,
            parameters,
            options.compare,
          );
          print('logits against float64, packed', kernels.toExponential(2));
          print('logits against float64, unpacked', formatPercent(packing));
          print('same likeliest vision token', formatPercent(sameTop));
        }
        parameters.destroy();
      });
    },
  );

try {
  await program.parseAsync();
} finally {
  terminal.close();
}
