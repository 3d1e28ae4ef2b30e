import type { RgbImage } from '../../../tokenizer/index.js';
import { psnr, ssim } from '../check/metrics.js';
import { sceneKinds } from '../world/scene.js';
import { clipMedium, drawStill, pictureMedium } from './medium.js';
import type { Reconstruction } from './model.js';
import {
  groups,
  mean,
  randomFor,
  type Example,
  type Group,
  type Suite,
  type SuiteContext,
  type TableRow,
} from './suite.js';

interface Item {
  readonly kind: 'pictures' | 'clips';
  readonly group: Group;
  readonly frames: readonly RgbImage[];
}

const shownItems = 4;

export const reconstruction: Suite = {
  name: 'reconstruction',
  needs: ['reconstruct'],
  async run(context) {
    const { model, work } = context;
    const items = drawItems(context);
    const shown = items.map(({ frames }) => frames);
    const results = (await model.reconstruct?.(shown, work('reconstructing', shown.length))) ?? [];
    const kinds = ['pictures', 'clips'] as const;
    const rows = kinds.flatMap((kind) => groups.map((group) => rowOf(kind, group, items, results)));
    const { used, perplexity } = codebookUsage(results.map(({ codes }) => codes));
    return {
      name: 'reconstruction',
      title: 'Vision tokenizer',
      about:
        'Pictures and clips through the vision tokenizer and back, none of which it was trained on. PSNR in dB over the bytes, ' +
        'SSIM of brightness (Wang et al. 2004), means over the frames. Perplexity: e to the entropy of the codes.',
      tables: [
        {
          title: 'Reconstruction',
          columns: [
            { name: 'PSNR, dB', format: 'number' },
            { name: 'lowest PSNR, dB', format: 'number' },
            { name: 'SSIM', format: 'number' },
            { name: 'pictures or clips', format: 'count' },
          ],
          rows,
        },
        {
          title: 'Codebook',
          columns: [
            { name: 'entries', format: 'count' },
            { name: 'in use', format: 'count' },
            { name: 'perplexity', format: 'number' },
          ],
          rows: [
            { name: 'all of the above', group: '', control: false, values: [model.codebookSize, used, perplexity] },
          ],
        },
      ],
      examples: examplesOf(items, results),
    };
  },
};

function drawItems(context: SuiteContext): Item[] {
  const { amounts } = context;
  const random = randomFor(context, 'reconstruction');
  const [pictureSource, clipSource] = [pictureMedium(context), clipMedium(context)];
  const pictures = groups.flatMap((group) =>
    Array.from({ length: amounts.pictures }, (_, index): Item => {
      const scene = drawStill(group, sceneKinds[index % sceneKinds.length], random);
      return { kind: 'pictures', group, frames: pictureSource.show(scene) };
    }),
  );
  const clips = groups.flatMap((group) =>
    Array.from({ length: amounts.clips }, (): Item => {
      return { kind: 'clips', group, frames: clipSource.show(clipSource.draw(group, random)) };
    }),
  );
  return [...pictures, ...clips];
}

function rowOf(kind: Item['kind'], group: Group, items: readonly Item[], results: readonly Reconstruction[]): TableRow {
  const pairs = items
    .map((item, index) => ({ ...item, restored: results[index].frames }))
    .filter((item) => item.kind === kind && item.group === group);
  const frames = pairs.flatMap(({ frames: shown, restored }) => shown.map((frame, index) => [frame, restored[index]]));
  const ratios = frames.map(([frame, restored]) => psnr(frame.rgb, restored.rgb));
  const similar = frames.map(([frame, restored]) => ssim(frame.rgb, restored.rgb, frame.width));
  return {
    name: kind,
    group,
    control: false,
    values: [mean(ratios), ratios.length === 0 ? undefined : Math.min(...ratios), mean(similar), pairs.length],
  };
}

/** Codes in use; perplexity is e to the entropy of their frequencies. */
export function codebookUsage(lists: readonly ArrayLike<number>[]): { used: number; perplexity: number } {
  const counts = new Map<number, number>();
  let total = 0;
  for (const codes of lists) {
    for (let index = 0; index < codes.length; index++) {
      counts.set(codes[index], (counts.get(codes[index]) ?? 0) + 1);
      total += 1;
    }
  }
  let entropy = 0;
  for (const count of counts.values()) entropy -= (count / total) * Math.log(count / total);
  return { used: counts.size, perplexity: Math.exp(entropy) };
}

function examplesOf(items: readonly Item[], results: readonly Reconstruction[]): Example[] {
  const all = items.map((item, index) => ({ ...item, restored: results[index].frames }));
  return (['pictures', 'clips'] as const).flatMap((kind) =>
    groups.flatMap((group) =>
      all
        .filter((item) => item.kind === kind && item.group === group)
        .slice(0, shownItems)
        .map(({ frames, restored }) => ({
          title: '',
          group: `${kind}, ${group}`,
          pictures: [
            { label: 'true', frames },
            { label: 'reconstructed', frames: restored },
          ],
          lines: [],
        })),
    ),
  );
}
