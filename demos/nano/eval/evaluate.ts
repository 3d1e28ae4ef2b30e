import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import { SceneChecker } from '../check/checker.js';
import type { SceneRenderer } from '../check/templates.js';
import { largeSide, pictureSize } from '../world/scene.js';
import { captions } from './captions.js';
import { extension } from './extension.js';
import { geneval } from './geneval.js';
import type { EvaluatedModel, WorkEvents } from './model.js';
import { pope } from './pope.js';
import { questions } from './questions.js';
import { reconstruction } from './reconstruction.js';
import { suiteNames, type Amounts, type Suite, type SuiteName, type SuiteResult } from './suite.js';
import { video } from './video.js';

const suites: Readonly<Record<SuiteName, Suite>> = {
  geneval,
  pope,
  questions,
  captions,
  video,
  extension,
  reconstruction,
};

export interface EvaluateOptions {
  /** Default: all that the model can do. */
  readonly suites?: readonly SuiteName[] | undefined;
  readonly amounts: Amounts;
  readonly seed: number;
  /** Pictures of the larger size that quality fine-tuning draws: of GenEval alone. */
  readonly large?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** A piece of work begins, of so many requests; what is given back is told how many are done. */
  readonly onWork?: (suite: SuiteName, label: string, total: number) => (done: number) => void;
}

export interface Evaluation {
  readonly results: readonly (SuiteResult & { readonly seconds: number })[];
  /** Suites that the model lacks what they need for. */
  readonly left: readonly SuiteName[];
}

/**
 * Measures a model of the nano world, suite by suite, each with its controls.
 *
 * @param renderer draws the true pictures and the checker's templates.
 * @throws Emu3Error `unsupported` for a suite asked for by name that the model cannot do or that has no large pictures,
 *   `argument` for amounts that are no whole numbers from 1, `aborted`, and what the model throws.
 */
export async function evaluate(
  model: EvaluatedModel,
  renderer: SceneRenderer,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { amounts, seed, signal, large = false } = options;
  const side = large ? largeSide : pictureSize;
  checkAmounts(amounts);
  const canRun = (name: SuiteName): boolean => suites[name].needs.some((ability) => model[ability] !== undefined);
  for (const name of options.suites ?? []) {
    if (large && name !== 'geneval') throw onlySmall(name);
    if (canRun(name)) continue;
    throw new Emu3Error(`The model cannot do what the suite ${name} measures.`, {
      code: 'unsupported',
      where: name,
      fix: `It needs: ${suites[name].needs.join(' or ')}. Leave the suite out.`,
    });
  }
  const asked = suiteNames.filter((name) => options.suites?.includes(name) ?? (!large || name === 'geneval'));
  const checker = new SceneChecker(renderer);
  const results: (SuiteResult & { seconds: number })[] = [];
  for (const name of asked.filter(canRun)) {
    throwIfAborted(signal, 'eval');
    const started = performance.now();
    const work = (label: string, total: number): WorkEvents => {
      throwIfAborted(signal, 'eval');
      const tell = options.onWork?.(name, label, total);
      const onDone = (count: number): void => {
        throwIfAborted(signal, 'eval');
        tell?.(count);
      };
      return { signal, onDone };
    };
    const result = await suites[name].run({ model, renderer, checker, amounts, seed, side, work });
    results.push({ ...result, seconds: (performance.now() - started) / 1000 });
  }
  return { results, left: asked.filter((name) => !canRun(name)) };
}

function onlySmall(name: SuiteName): Emu3Error {
  return new Emu3Error(`The suite ${name} has no large pictures.`, {
    code: 'unsupported',
    where: name,
    fix: 'Ask for large pictures of geneval alone.',
  });
}

function checkAmounts(amounts: Amounts): void {
  for (const [name, amount] of Object.entries(amounts) as [string, number][]) {
    if (Number.isSafeInteger(amount) && amount >= 1) continue;
    throw new Emu3Error(`The amount of ${name} is ${amount}.`, {
      code: 'argument',
      where: `amounts.${name}`,
      fix: 'Give a whole number from 1.',
    });
  }
}
