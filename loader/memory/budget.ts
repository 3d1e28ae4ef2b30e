import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../../engine/device.js';
import { cacheTypes, contextLength, type CacheType } from '../../engine/decode/index.js';
import { spatialFactor } from '../../engine/models/vision/index.js';
import { calculateGenerateSize, generatedLength } from '../../tokenizer/index.js';
import { transformerTensorShapes, visionTensorShapes, withoutCounters } from '../config/shapes.js';
import type { Emu3Config } from '../config/transformer.js';
import type { Emu3VisionVQConfig } from '../config/vision.js';
import { weightFormats, type WeightFormat } from '../pipeline/weights.js';
import { tileBytes } from '../transfer.js';
import { cacheBytes, planStep, planVision, weightBytes } from './plan.js';

/** Bytes that a model takes on the GPU while it draws one guided square picture of its size. */
export interface MemoryBudget {
  readonly weights: number;
  readonly visionTokenizer: number;
  /** Keys and values of the picture and of its negative twin. */
  readonly cache: number;
  /** Of a decoding step, and of turning codes into pixels. */
  readonly activations: number;
  /** What loading needs besides. */
  readonly scratch: number;
  readonly total: number;
}

export interface BudgetedModel {
  readonly config: Emu3Config;
  readonly visionConfig: Emu3VisionVQConfig;
  readonly weights: WeightFormat;
  readonly cacheType: CacheType;
}

/** Tokens of a prompt that are counted in. */
const promptTokens = 64;

/** Plans a model's memory from its configs alone. The device only says which kernels there are; nothing is allocated. */
export function planBudget(device: Device, model: BudgetedModel): MemoryBudget {
  const { config, visionConfig, weights: format, cacheType } = model;
  const shapes = transformerTensorShapes(config);
  const visionShapes = withoutCounters(visionTensorShapes(visionConfig));
  const size = calculateGenerateSize('1:1', config.image_area, spatialFactor(visionConfig));
  const context = Math.min(contextLength(config), promptTokens + generatedLength(size));
  const weights = weightBytes(shapes, format);
  const visionTokenizer = weightBytes(visionShapes);
  const cache = cacheBytes(config, 2, context, cacheType);
  const step = planStep(device, config, shapes, { rows: 2, context });
  const activations = step.arena + planVision(device, visionConfig, visionShapes, size).decoder.arena;
  // A tile of a weight, and the errors of its rows where it is packed.
  const scratch = tileBytes + (format === 'f32' ? 0 : 16 * config.vocab_size);
  const total = weights + visionTokenizer + cache + activations + scratch;
  return { weights, visionTokenizer, cache, activations, scratch, total };
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;

/** The parts of a budget in words, largest first. */
export function describeBudget({ total, ...parts }: MemoryBudget): string {
  const names: Record<keyof typeof parts, string> = {
    weights: 'weights',
    visionTokenizer: 'vision tokenizer',
    cache: 'keys and values',
    activations: 'activations',
    scratch: 'scratch',
  };
  const list = Object.entries(parts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${names[name as keyof typeof parts]} ${gib(bytes)}`);
  return `${gib(total)} (${list.join(', ')})`;
}

/**
 * @param limit bytes there are.
 * @throws Emu3Error `limit` for a budget above it, with the numbers and the formats that would fit.
 */
export function checkBudget(device: Device, model: BudgetedModel, budget: MemoryBudget, limit: number): void {
  if (budget.total <= limit) return;
  const types = cacheTypes.slice(cacheTypes.indexOf(model.cacheType));
  const formats = weightFormats.slice(weightFormats.indexOf(model.weights));
  const smaller = formats
    .flatMap((weights) => types.map((cacheType) => ({ weights, cacheType })))
    .map((form) => ({ ...form, total: planBudget(device, { ...model, ...form }).total }));
  const fitting = smaller.find(({ total }) => total <= limit);
  const least = Math.min(...smaller.map(({ total }) => total));
  throw new Emu3Error(`The model needs ${describeBudget(budget)}, and there are ${gib(limit)}.`, {
    code: 'limit',
    where: 'memory',
    fix: fitting
      ? `Load it with ${fitting.weights} weights and a key-value cache of ${fitting.cacheType}: ${gib(fitting.total)}.`
      : `Use an adapter with at least ${gib(least)}, or a smaller model.`,
  });
}
