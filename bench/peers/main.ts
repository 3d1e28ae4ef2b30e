import { join } from 'node:path';
import { Command } from 'commander';
import { numberOption } from '../../demos/cli/options.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';
import { describeRun } from '../header.node.js';
import { adapterName, writeReport } from '../report/files.node.js';
import { comparePeers } from './compare.js';
import type { Contender } from './contender.js';
import { ours } from './ours.js';
import { problemsFor } from './problems.js';
import { peersMarkdown, type PeerResults } from './report.js';

interface Options {
  rounds: number;
  seconds: number;
  only?: string;
  results?: string;
}

/** Gives engines that know browsers only the adapter that this one takes. */
function offerAdapter(): void {
  const gpu = { requestAdapter: async () => (await requestAdapterNode()).adapter };
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
}

/** Methods of iterators that other engines take from newer Nodes than the oldest that this one runs on. */
function lendIteratorMethods(): void {
  const iterators = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as Record<string, unknown>;
  iterators['map'] ??= function <In, Out>(this: Iterable<In>, change: (item: In) => Out) {
    return Array.from(this, (item) => change(item)).values();
  };
  iterators['filter'] ??= function <Item>(this: Iterable<Item>, keeps: (item: Item) => boolean) {
    return [...this].filter((item) => keeps(item)).values();
  };
}

async function contenders(device: Device): Promise<Contender[]> {
  const { jaxContender } = await import('./jax.js');
  const { onnxContender } = await import('./onnx.js');
  const { tensorflowContender } = await import('./tensorflow.js');
  return [ours(device), await jaxContender(), await onnxContender(), await tensorflowContender()];
}

const program = new Command('bench-peers')
  .description('measure this engine and others side by side, on one adapter, in one process')
  .option('--rounds <n>', 'measurements of everything, the engines in turn', numberOption({ from: 1, whole: true }), 5)
  .option('--seconds <s>', 'time of one measurement', numberOption({ from: 0, exclusive: true }), 0.3)
  .option('--only <text>', 'only problems whose description contains this')
  .option('--results <folder>', 'write peers-<adapter>.json and .md into a folder');
await program.parseAsync();
const { rounds, seconds, only, results: folder } = program.opts<Options>();

const device = await Device.create(await requestAdapterNode());
offerAdapter();
lendIteratorMethods();
const header = await describeRun(device, rounds);
const problems = problemsFor(device.traits.software);
const figures = await comparePeers(await contenders(device), problems, {
  rounds,
  seconds,
  only,
  onProgress: (what) => process.stderr.write(`${what}\n`),
});
const results: PeerResults = { header, figures };
if (folder === undefined) process.stdout.write(peersMarkdown(results));
else {
  const place = join(folder, `peers-${adapterName(header)}`);
  await writeReport(`${place}.json`, `${JSON.stringify(results, undefined, 2)}\n`);
  await writeReport(`${place}.md`, peersMarkdown(results));
}
// Other engines keep devices, and so the process, alive.
process.exit(0);
