import { Emu3Error } from '../../kernels/core/errors.js';
import type { PreferencePair } from '../../engine/train/preference.js';
import { shorten } from '../json.js';
import type { PreferenceSample } from './sample.js';

/** The best and the worst response to a prompt. */
export interface VotedPair extends PreferencePair {
  readonly prompt: string;
  readonly chosen: PreferenceSample;
  readonly rejected: PreferenceSample;
  /** Mean ranks by the voters, 1 the best possible. */
  readonly ranks: { readonly chosen: number; readonly rejected: number };
}

export interface Vote {
  /** One for each prompt that was not dropped, in the order the prompts first appear. */
  readonly pairs: readonly VotedPair[];
  /** Different prompts among the samples. */
  readonly prompts: number;
  /** Prompts without a pair. */
  readonly dropped: {
    /** There is one sample only. */
    readonly single: number;
    /** All samples have the same mean rank. */
    readonly tied: number;
    /** The best and the worst are the same tokens. */
    readonly identical: number;
  };
}

/**
 * Sets the best response to each prompt against the worst, as Emu3 does with 8 to 10 samples a prompt
 * (arXiv 2409.18869, section on DPO; how its voters are combined is not published). Voters' scales differ, so each ranks
 * the samples of a prompt (1 is the highest score, equal scores share the mean of their ranks), and a sample is as good
 * as the mean of its ranks. Of samples that are equally good the earlier one is taken.
 *
 * Samples belong to one prompt when their prompt ids are the same.
 *
 * @param voters whose scores count; default all.
 * @throws Emu3Error `argument` when there is no voter, `missing` when a sample has no score of a voter.
 */
export function choosePairs(samples: readonly PreferenceSample[], voters?: readonly string[]): Vote {
  const names = voters ?? [...new Set(samples.flatMap(({ scores }) => Object.keys(scores)))];
  if (names.length === 0 && samples.length > 0) {
    throw new Emu3Error('There is no voter.', {
      code: 'argument',
      where: 'preference samples',
      fix: 'Give the samples a score by one voter at least.',
    });
  }
  const groups = new Map<string, PreferenceSample[]>();
  for (const sample of samples) {
    const key = sample.promptIds.join();
    const group = groups.get(key);
    if (group) group.push(sample);
    else groups.set(key, [sample]);
  }
  const pairs: VotedPair[] = [];
  const dropped = { single: 0, tied: 0, identical: 0 };
  for (const group of groups.values()) {
    const sums = rankSums(group, names);
    const best = sums.indexOf(Math.min(...sums));
    const worst = sums.indexOf(Math.max(...sums));
    const [chosen, rejected] = [group[best], group[worst]];
    if (group.length === 1) dropped.single += 1;
    else if (sums[best] === sums[worst]) dropped.tied += 1;
    else if (chosen.responseIds.join() === rejected.responseIds.join()) dropped.identical += 1;
    else {
      const ranks = { chosen: sums[best] / names.length, rejected: sums[worst] / names.length };
      pairs.push({ prompt: chosen.prompt, chosen, rejected, ranks });
    }
  }
  return { pairs, prompts: groups.size, dropped };
}

/** Sum over the voters of each sample's rank: multiples of a half, so that ties are exact. */
function rankSums(group: readonly PreferenceSample[], voters: readonly string[]): number[] {
  const sums = new Array<number>(group.length).fill(0);
  for (const voter of voters) {
    const scores = group.map((sample) => scoreOf(sample, voter));
    scores.forEach((own, index) => {
      const better = scores.filter((score) => score > own).length;
      const equal = scores.filter((score) => score === own).length;
      sums[index] += better + (equal + 1) / 2;
    });
  }
  return sums;
}

function scoreOf({ prompt, seed, scores }: PreferenceSample, voter: string): number {
  if (Object.hasOwn(scores, voter)) return scores[voter];
  throw new Emu3Error(`A sample has no score by ${shorten(voter)}.`, {
    code: 'missing',
    where: `"${shorten(prompt)}", seed ${seed}`,
    fix: 'Let every voter score every sample, or name the voters that count.',
  });
}
