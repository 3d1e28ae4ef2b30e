import { cp } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Emu3Error } from '../../../kernels/core/errors.js';
import {
  averagedTensors,
  diskFolder,
  openCheckpoint,
  replaceFile,
  writeModel,
  type Checkpoint,
} from '../../../loader/index.node.js';
import { parseJsonObject } from '../../../loader/json.js';
import { hashWeights } from '../../nano/train/stage-model.node.js';
import { visionFolderName } from '../model.js';
import { withProgress } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface AverageOptions {
  output: string;
}

/** What models must have in common, besides their tensors' names and shapes, for their weights to mean the same. */
const sameFiles = ['config.json', 'tokenizer.json'];
/**
 * What a mean does not copy: the weights, the adapters that made them, and what says that a folder is a whole model, which
 * comes last.
 */
const notCopied = /^config\.json$|\.safetensors(\.index\.json)?$|^adapter$/;

export function addAverage(program: Command, terminal: Terminal): void {
  program
    .command('average')
    .description('write the mean of the weights of models that were trained from one (a model soup)')
    .argument('<models...>', 'folders of two models or more; all else is taken from the first')
    .requiredOption('-o, --output <folder>', 'folder of the new model')
    .action((models: string[], options: AverageOptions) => average(terminal, models, options));
}

async function average(terminal: Terminal, models: readonly string[], { output }: AverageOptions): Promise<void> {
  const { signal } = terminal;
  const [first, ...others] = models;
  if (models.some((model) => resolve(model) === resolve(output))) {
    throw new Emu3Error('The mean would replace a model that it is taken of.', {
      code: 'argument',
      where: `--output ${output}`,
      fix: 'Give another folder.',
    });
  }
  for (const other of others) await compareFiles(first, other);
  const config = await diskFolder(first).readText('config.json', signal);
  const checkpoints: Checkpoint[] = [];
  try {
    for (const model of models) checkpoints.push(await openCheckpoint(diskFolder(model), { signal }));
    await withProgress(terminal, 'averaging', checkpoints[0].tensors.size, async (bar) => {
      const tensors = averagedTensors(checkpoints, (done) => bar.update(done, 'tensors'));
      const isCopied = (path: string): boolean =>
        dirname(resolve(path)) !== resolve(first) || !notCopied.test(basename(path));
      await cp(first, output, { recursive: true, filter: isCopied });
      await writeModel(output, tensors, { metadata: { format: 'pt' }, signal });
    });
  } finally {
    for (const checkpoint of checkpoints) await checkpoint.close();
  }
  await replaceFile(join(output, 'config.json'), [new TextEncoder().encode(config)]);
  terminal.out(`the mean of ${models.length} models is in ${output}\n`);
}

/** @throws Emu3Error `config` when two models differ in more than their weights. */
async function compareFiles(first: string, other: string): Promise<void> {
  for (const name of sameFiles) {
    const [expected, found] = await Promise.all([contentOf(first, name), contentOf(other, name)]);
    if (expected === found) continue;
    throw notFromOne(first, other, name);
  }
  const [expected, found] = await Promise.all([visionOf(first), visionOf(other)]);
  if (expected !== found) throw notFromOne(first, other, visionFolderName);
}

/** Empty where a model lies without its vision tokenizer. */
async function visionOf(model: string): Promise<string> {
  if (!(await diskFolder(model).exists(`${visionFolderName}/config.json`))) return '';
  return hashWeights(join(model, visionFolderName));
}

function notFromOne(first: string, other: string, name: string): Emu3Error {
  return new Emu3Error(`Its ${name} is not that of ${first}.`, {
    code: 'config',
    where: other,
    fix: 'Give models that were trained from one.',
  });
}

/** Without its layout; empty where there is no such file, as in models with another kind of tokenizer. */
async function contentOf(model: string, name: string): Promise<string> {
  const folder = diskFolder(model);
  if (!(await folder.exists(name))) return '';
  return JSON.stringify(parseJsonObject(await folder.readText(name), join(model, name)));
}
