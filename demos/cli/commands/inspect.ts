import type { Command } from 'commander';
import type { AdapterPreference } from '../../../engine/adapter/request.node.js';
import { cacheTypes } from '../../../engine/decode/index.js';
import { isStatistic, spatialFactor } from '../../../engine/models/vision/index.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import {
  openTransformer,
  openVisionTokenizer,
  transformerTensorShapes,
  visionTensorShapes,
  withoutCounters,
  type Emu3Config,
  type ModelFolder,
  type TensorShapes,
} from '../../../loader/index.node.js';
import { weightFormats, type WeightFormat } from '../../../loader/pipeline/weights.js';
import { calculateGenerateSize } from '../../../tokenizer/index.js';
import { cacheBytes, planStep, planVision, weightBytes, type ArenaPlan } from '../../../loader/memory/plan.js';
import { findModel } from '../model.js';
import { adapterOption, jsonOption, numberOption } from '../options.js';
import { jsonText } from '../output.js';
import { formatBytes, formatCount, formatTable } from '../report.js';
import { withDevice, type Terminal } from '../terminal.js';

interface InspectOptions {
  context?: number;
  rows: number;
  tensors: boolean;
  adapter?: AdapterPreference;
  json?: boolean;
}

interface TensorReport {
  name: string;
  dtype: string;
  shape: readonly number[];
  bytes: number;
  file: string;
}

interface NetworkReport {
  kind: 'transformer' | 'vision tokenizer';
  folder: string;
  config: object;
  tensors: TensorReport[];
  /** Trained numbers: without statistics and counters. */
  parameters: number;
  /** Bytes in the files. */
  bytes: number;
  /** Bytes on the GPU; activations are missing where no adapter was found. */
  memory: Record<string, number | ArenaPlan>;
}

interface Network extends NetworkReport {
  shapes: TensorShapes;
}

export function addInspect(program: Command, terminal: Terminal): void {
  const count = numberOption({ from: 1, whole: true });
  program
    .command('inspect')
    .description('show the tensors, size and memory plan of a model; reads headers only')
    .argument('[model]', 'folder of a transformer, a vision tokenizer or both (default: the nano model)')
    .option('--context <n>', 'positions of the key-value cache (default: all the model has)', count)
    .option('--rows <n>', 'sequences decoded side by side; guidance takes two', count, 2)
    .option('--no-tensors', 'leave the list of tensors out')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action((model: string | undefined, options: InspectOptions) => inspect(terminal, model, options));
}

async function inspect(terminal: Terminal, model: string | undefined, options: InspectOptions): Promise<void> {
  const parts = await findModel(model, terminal);
  const { signal } = terminal;
  const transformer = parts.transformer && (await openTransformerReport(parts.transformer, signal));
  const vision = parts.vision && (await openVisionReport(parts.vision, signal));
  const plan = async (): Promise<void> =>
    withDevice(terminal, options, async (device) => {
      const context = options.context ?? transformer?.config.max_position_embeddings ?? 1;
      if (transformer) {
        const { config, shapes, memory } = transformer;
        memory['decoding step'] = planStep(device, config, shapes, { rows: options.rows, context });
      }
      if (vision) {
        const { config, shapes, memory } = vision;
        const area = transformer?.config.image_area ?? 512 * 512;
        const size = calculateGenerateSize('1:1', area, spatialFactor(config));
        const { encoder, decoder } = planVision(device, config, shapes, size);
        memory[`encoding ${size.height}x${size.width} tokens`] = encoder;
        memory[`decoding ${size.height}x${size.width} tokens`] = decoder;
      }
    });
  if (transformer) {
    const context = options.context ?? transformer.config.max_position_embeddings;
    for (const type of cacheTypes) {
      const name = `key-value cache (${type}), ${options.rows} x ${context}`;
      transformer.memory[name] = cacheBytes(transformer.config, options.rows, context, type);
    }
  }
  try {
    await plan();
  } catch (error) {
    // What the files hold is worth showing on a machine that cannot run them.
    if (!(error instanceof Emu3Error && error.code === 'no-adapter')) throw error;
    terminal.err('no adapter: the memory plan leaves the activations out\n');
  }
  const networks = [transformer, vision].filter((network) => network !== undefined);
  if (options.json) terminal.out(jsonText({ model: parts.path, networks: networks.map(plainReport) }));
  else for (const network of networks) terminal.out(describeNetwork(network, options.tensors));
}

function plainReport({ kind, folder, config, tensors, parameters, bytes, memory }: NetworkReport): NetworkReport {
  return { kind, folder, config, tensors, parameters, bytes, memory };
}

async function openTransformerReport(
  folder: ModelFolder,
  signal: AbortSignal,
): Promise<Network & { config: Emu3Config }> {
  const { config, checkpoint } = await openTransformer(folder, { signal });
  await checkpoint.close();
  return { ...network('transformer', folder, transformerTensorShapes(config), checkpoint.tensors), config };
}

async function openVisionReport(
  folder: ModelFolder,
  signal: AbortSignal,
): Promise<Network & { config: Awaited<ReturnType<typeof openVisionTokenizer>>['config'] }> {
  const { config, checkpoint } = await openVisionTokenizer(folder, { signal });
  await checkpoint.close();
  return { ...network('vision tokenizer', folder, visionTensorShapes(config), checkpoint.tensors), config };
}

type StoredTensors = Awaited<ReturnType<typeof openTransformer>>['checkpoint']['tensors'];

function network(
  kind: NetworkReport['kind'],
  folder: ModelFolder,
  shapes: TensorShapes,
  stored: StoredTensors,
): Omit<Network, 'config'> {
  const tensors = [...stored.values()].map(({ name, dtype, shape, byteLength, file }) => ({
    name,
    dtype,
    shape,
    bytes: byteLength,
    file,
  }));
  const onGpu = withoutCounters(shapes);
  const formats: readonly WeightFormat[] = kind === 'transformer' ? weightFormats : ['f32'];
  const trained = [...onGpu].filter(([name]) => !isStatistic(name));
  return {
    kind,
    folder: folder.name,
    shapes,
    tensors,
    parameters: trained.reduce((sum, [, shape]) => sum + shape.reduce((product, size) => product * size, 1), 0),
    bytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
    memory: Object.fromEntries(formats.map((format) => [`weights (${format})`, weightBytes(onGpu, format)])),
  };
}

function describeNetwork(report: NetworkReport, withTensors: boolean): string {
  const dtypes = new Set(report.tensors.map(({ dtype }) => dtype));
  const config = Object.entries(report.config).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const memory = Object.entries(report.memory).map(([name, value]) =>
    typeof value === 'number'
      ? `  ${name}: ${formatBytes(value)}\n`
      : `  activations, ${name}: ${formatBytes(value.arena)} (${formatBytes(value.withoutReuse)} without reuse), ${value.dispatches} dispatches\n`,
  );
  const tensors = report.tensors.map(({ name, dtype, shape, bytes }) => [
    name,
    dtype,
    `[${shape.join(', ')}]`,
    formatBytes(bytes),
  ]);
  return [
    `${report.kind}: ${report.folder}\n`,
    withTensors ? formatTable(['tensor', 'type', 'shape', 'bytes'], tensors) : '',
    `${report.tensors.length} tensors (${[...dtypes].join(', ')}), ${formatBytes(report.bytes)}; `,
    `${formatCount(report.parameters)} parameters\n`,
    `config: ${config.join(', ')}\n`,
    'memory on the GPU:\n',
    ...memory,
    '\n',
  ].join('');
}
