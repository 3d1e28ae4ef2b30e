import { describe, expect, it } from 'vitest';
import { SequenceScorer } from '../../engine/models/transformer/index.js';
import { packDocuments, type PackedBatch, type TokenDocument } from '../../engine/train/packing.js';
import { TransformerTrainer } from '../../engine/train/transformer-trainer.js';
import type { StepMetrics } from '../../engine/train/loop.js';
import { isVisual, sampleLabels, type LabelRule, type SpecialTokens } from '../../tokenizer/index.js';
import { expectError, thrown } from '../loader/support.js';
import { testDevice } from '../support/kernel.js';
import { newStore, tinyTransformer as config, weightsOf } from './support.js';

const special: SpecialTokens = {
  pad: config.pad_token_id,
  bos: config.bos_token_id,
  eos: config.eos_token_id,
  img: config.img_token_id,
  boi: config.boi_token_id,
  eoi: config.eoi_token_id,
  eol: config.eol_token_id,
  eof: config.eof_token_id,
  visualStart: 20,
  visualCount: 30,
};

const shape = { batch: 2, length: 16 };

/** BOS caption [image start] codes EOL EOF [image end] EOS. */
function picture(caption: readonly number[], codes: readonly number[]): number[] {
  const { bos, boi, img, eol, eof, eoi, eos } = special;
  return [bos, ...caption, boi, img, ...codes.map((code) => code + special.visualStart), eol, eof, eoi, eos];
}

const ids = [picture([1, 2], [0, 7, 29]), picture([3, 4, 5], [11, 2]), [special.bos, 1, 6, special.eos]];

function labelled(document: readonly number[], rule: LabelRule, responseStart = 0): TokenDocument {
  return { ids: document, labels: sampleLabels(document, special, rule, responseStart) };
}

/** Each document in a row of its own, filled up with documents of padding. */
function batchOf(documents: readonly TokenDocument[]): PackedBatch {
  const padding = (size: number): TokenDocument => labelled(new Array<number>(size).fill(special.pad), 'all');
  const order = documents.flatMap((document) => [document, padding(shape.length - document.ids.length)]);
  return packDocuments(() => order.shift() ?? padding(shape.length), shape, special.pad);
}

async function firstStep(batches: readonly PackedBatch[]): Promise<StepMetrics> {
  const device = await testDevice();
  const store = await newStore();
  const trainer = await TransformerTrainer.create(device, config, store, {
    ...shape,
    dropout: 0,
    schedule: { kind: 'constant', peak: 1e-3 },
    visionWeight: { first: 20, last: 49, weight: 0.5 },
    seed: 1,
  });
  trainer.train(batches);
  const metrics = await trainer.metrics();
  trainer.destroy();
  store.destroy();
  return metrics;
}

/** Weighted cross-entropy in float64 of the places that `learns` names, by the scorer's logits. */
async function expectedLoss(learns: (id: number, place: number, row: number) => boolean): Promise<number> {
  const store = await newStore();
  const scorer = await SequenceScorer.create(await testDevice(), config, store, shape);
  const documents = ids.slice(0, 2);
  const padded = documents.flatMap((own) => [
    ...own,
    ...new Array<number>(shape.length - own.length).fill(special.pad),
  ]);
  const { logits } = await scorer.score({ ids: padded });
  let [sum, weights] = [0, 0];
  documents.forEach((own, row) => {
    for (let place = 1; place < own.length; place++) {
      if (!learns(own[place], place, row)) continue;
      const from = (row * shape.length + place - 1) * config.vocab_size;
      const values = Array.from(logits.subarray(from, from + config.vocab_size));
      const logSum = Math.log(values.reduce((total, value) => total + Math.exp(value), 0));
      const weight = isVisual(own[place], special) ? 0.5 : 1;
      sum += weight * (logSum - values[own[place]]);
      weights += weight;
    }
  });
  scorer.destroy();
  store.destroy();
  return sum / weights;
}

describe('label rules in training', () => {
  it.each([
    ['vision', (id: number) => isVisual(id, special)],
    ['text', (id: number) => !isVisual(id, special)],
    ['response', (_id: number, place: number, row: number) => place >= [3, 4][row]],
    ['all', () => true],
  ] as const)('%s: the loss is that of its tokens alone', async (rule, learns) => {
    const documents = ids.slice(0, 2).map((document, row) => labelled(document, rule, [3, 4][row]));
    const { loss } = await firstStep([batchOf(documents)]);
    expect(Math.abs(loss - (await expectedLoss(learns)))).toBeLessThan(1e-4);
  });

  it('a row, or a micro-batch, in which nothing is learned changes nothing', async () => {
    const [learned, text] = [labelled(ids[0], 'vision'), labelled(ids[2], 'vision')];
    const alone = await firstStep([batchOf([learned])]);
    const beside = await firstStep([batchOf([learned, text])]);
    const apart = await firstStep([batchOf([learned]), batchOf([text, text])]);
    expect(
      batchOf([learned, text])
        .targets.slice(shape.length)
        .every((target) => target < 0),
    ).toBe(true);
    for (const metrics of [beside, apart]) {
      expect(metrics.loss).toBeCloseTo(alone.loss, 5);
      expect(metrics.gradientNorm).toBeCloseTo(alone.gradientNorm, 4);
    }
  });

  it('a step that learns nothing at all is refused, and leaves the weights alone', async () => {
    const device = await testDevice();
    const store = await newStore();
    const options = { ...shape, schedule: { kind: 'constant', peak: 1e-3 }, seed: 1 } as const;
    const visionWeight = { first: 20, last: 49, weight: 0 };
    const trainer = await TransformerTrainer.create(device, config, store, { ...options, visionWeight });
    const before = await weightsOf(store);
    const nothing = batchOf([labelled(ids[2], 'vision')]);
    expectError(
      thrown(() => trainer.train([nothing, nothing])),
      'argument',
      'learns nothing',
      'sum to 0',
    );
    // Labels that are learned, and a weight that undoes them.
    expectError(
      thrown(() => trainer.train([batchOf([labelled(ids[0], 'vision')])])),
      'argument',
      'learns nothing',
    );
    expectError(
      thrown(() => trainer.train([])),
      'argument',
      'learns nothing',
    );
    expect(trainer.step).toBe(0);
    expect(await weightsOf(store)).toEqual(before);
    trainer.destroy();
    store.destroy();
  });
});
