import { Emu3Error } from '../../kernels/core/errors.js';
import type { JsonValue } from '../json.js';
import { shorten } from '../json.js';
import type { PreferenceSample } from './sample.js';
import { PreferenceStore, type PreferenceStoreOptions } from './store.node.js';

/** One response that is wanted. */
export type SampleRequest = Pick<PreferenceSample, 'prompt' | 'seed'>;

/** What was drawn for a request. */
export type DrawnSample = Omit<PreferenceSample, 'prompt' | 'seed'>;

export interface CollectOptions extends PreferenceStoreOptions {
  /** File of samples; a run found there is continued. */
  path: string;
  /** More may be added behind the others when a run is continued. */
  prompts: readonly string[];
  /** 8 to 10 in Emu3 (arXiv 2409.18869). */
  samplesPerPrompt: number;
  /** Decides the seed of every sample. */
  seed: number;
  /** What else decides the samples: the model, the sampler's options, the voters. Compared when a run is continued. */
  settings: JsonValue;
  /** Samples that are drawn at once; default 1. */
  batch?: number;
  /** Draws and scores one response for each request. It must depend on the request alone for a run to be repeatable. */
  draw: (requests: readonly SampleRequest[], signal: AbortSignal | undefined) => Promise<readonly DrawnSample[]>;
  onProgress?: (done: number, total: number) => void;
}

/**
 * Draws `samplesPerPrompt` responses to each prompt into a file. A run that is stopped, or killed, goes on where it was
 * when it is started again with the same options, and ends with the same file as a run that was not.
 *
 * @returns all samples, prompt after prompt.
 * @throws Emu3Error `argument` for counts that are none, `config` when the file holds another run, `aborted`, what
 *   `PreferenceStore` throws, and what `draw` throws; the samples drawn so far stay.
 */
export async function collectPreferences(options: CollectOptions): Promise<readonly PreferenceSample[]> {
  const { path, samplesPerPrompt, seed, settings, batch = 1 } = options;
  for (const [name, count] of Object.entries({ samplesPerPrompt, batch })) {
    if (Number.isInteger(count) && count >= 1) continue;
    throw new Emu3Error(`${name} is ${count}.`, { code: 'argument', where: name, fix: 'Give a whole number above 0.' });
  }
  const store = await PreferenceStore.open(path, { samplesPerPrompt, seed, settings }, options);
  try {
    await drawInto(store, options);
  } catch (error) {
    // What stopped the run is worth more than a file that cannot be closed.
    await store.close().catch(() => undefined);
    throw error;
  }
  await store.close();
  return store.samples;
}

async function drawInto(store: PreferenceStore, options: CollectOptions): Promise<void> {
  const { prompts, samplesPerPrompt, seed, batch = 1, draw, signal, onProgress } = options;
  const total = prompts.length * samplesPerPrompt;
  const request = (index: number): SampleRequest => ({
    prompt: prompts[Math.floor(index / samplesPerPrompt)],
    // Multiples of an odd number: no two samples of a run share a seed.
    seed: (seed + Math.imul(index, 0x9e3779b9)) >>> 0,
  });
  checkPlan(store, total, request);
  onProgress?.(store.samples.length, total);
  while (store.samples.length < total) {
    const done = store.samples.length;
    if (signal?.aborted) {
      throw new Emu3Error(`The sampling was cancelled after ${done} of ${total} samples.`, {
        code: 'aborted',
        where: store.path,
        fix: 'Start it again to go on from there.',
        cause: signal.reason,
      });
    }
    // Batches begin at the same samples however often the run was stopped.
    const end = Math.min(total, (Math.floor(done / batch) + 1) * batch);
    const requests = Array.from({ length: end - done }, (_, index) => request(done + index));
    const drawn = await draw(requests, signal);
    if (drawn.length !== requests.length) {
      throw new Emu3Error(`${drawn.length} samples were drawn for ${requests.length} requests.`, {
        code: 'argument',
        where: 'draw',
        fix: 'Return one sample for each request, in their order.',
      });
    }
    await store.append(requests.map((wanted, index) => ({ ...wanted, ...drawn[index] })));
    onProgress?.(end, total);
  }
}

function checkPlan(store: PreferenceStore, total: number, request: (index: number) => SampleRequest): void {
  const refuse = (line: number, message: string): Emu3Error =>
    new Emu3Error(message, {
      code: 'config',
      where: `${store.path}: line ${line}`,
      fix: 'Give the prompts the run was started with, in their order, or another file.',
    });
  store.samples.slice(0, total).forEach(({ prompt, seed }, index) => {
    const wanted = request(index);
    if (prompt !== wanted.prompt || seed !== wanted.seed) {
      throw refuse(
        index + 2,
        `The sample of "${shorten(prompt)}", seed ${seed}, is not of "${shorten(wanted.prompt)}", seed ${wanted.seed}.`,
      );
    }
  });
  if (store.samples.length > total) {
    throw refuse(total + 2, `The file holds ${store.samples.length} samples, and only ${total} are wanted.`);
  }
}
