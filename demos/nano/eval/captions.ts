import type { RgbImage } from '../../../tokenizer/index.js';
import { fullCaption, fullClipCaption } from '../world/captions.js';
import type { Scene } from '../world/scene.js';
import { commonCount, parseCaption, parseClipCaption, type CaptionFacets, type FacetName } from './caption-parser.js';
import { clipMedium, pictureMedium, type Medium } from './medium.js';
import { normalised } from './questions.js';
import {
  elsewhere,
  groups,
  mapTold,
  randomFor,
  reconstructed,
  shareOf,
  splits,
  type Example,
  type Group,
  type Suite,
  type SuiteContext,
  type Table,
  type TableRow,
} from './suite.js';

interface CaptionedMedium extends Medium {
  readonly groups: readonly Group[];
  readonly facets: readonly FacetName[];
  readonly count: number;
  write(scene: Scene): string;
  parse(caption: string): CaptionFacets;
  caption(shown: readonly (readonly RgbImage[])[]): Promise<readonly string[]>;
}

interface Item {
  readonly group: Group;
  readonly caption: string;
  readonly facets: CaptionFacets;
  readonly frames: readonly RgbImage[];
}

interface JudgedCaption {
  readonly item: Item;
  readonly given: string;
  readonly said: CaptionFacets;
}

/** The captions of the model, or of a control. */
interface Judged {
  readonly name: string;
  readonly captions: readonly JudgedCaption[];
}

const shownCaptions = 6;
/** Clips are four times the amount that text to video has of each motion. */
const clipFactor = 4;

export const captions: Suite = {
  name: 'captions',
  needs: ['caption', 'captionClip'],
  async run(context) {
    const media = [captionedPictures(context), captionedClips(context)].filter((medium) => medium !== undefined);
    const tables: Table[] = [];
    const examples: Example[] = [];
    for (const medium of media) {
      const items = drawItems(context, medium);
      const { judged, given } = await measure(context, medium, items);
      tables.push(...tablesOf(judged, medium));
      examples.push(...examplesOf(items, given, medium));
    }
    return {
      name: 'captions',
      title: 'Captions',
      about:
        'Captions in one fixed form, read back and compared with what is shown: things, each with its colour, how many there ' +
        'are of each, where each one is or what it does, background and style.',
      tables,
      examples,
    };
  },
};

function captionedPictures(context: SuiteContext): CaptionedMedium | undefined {
  const { model, amounts, work } = context;
  if (model.caption === undefined) return undefined;
  return {
    ...pictureMedium(context),
    groups,
    facets: ['noun', 'color', 'count', 'place', 'background', 'style'],
    count: amounts.pictures,
    write: fullCaption,
    parse: parseCaption,
    caption: async (shown) =>
      (await model.caption?.(
        shown.map(([image]) => image),
        work('captioning pictures', shown.length),
      )) ?? [],
  };
}

function captionedClips(context: SuiteContext): CaptionedMedium | undefined {
  const { model, amounts, work } = context;
  if (model.captionClip === undefined) return undefined;
  return {
    ...clipMedium(context),
    groups: splits,
    facets: ['noun', 'color', 'place', 'motion', 'speed', 'background', 'style'],
    count: clipFactor * amounts.clips,
    write: fullClipCaption,
    parse: parseClipCaption,
    caption: async (shown) => (await model.captionClip?.(shown, work('captioning clips', shown.length))) ?? [],
  };
}

function drawItems(context: SuiteContext, medium: CaptionedMedium): Item[] {
  const random = randomFor(context, `captions of ${medium.name}`);
  return medium.groups.flatMap((group) =>
    Array.from({ length: medium.count }, () => {
      const scene = medium.draw(group, random);
      const caption = medium.write(scene);
      return { group, caption, facets: medium.parse(caption), frames: medium.show(scene) };
    }),
  );
}

async function measure(
  context: SuiteContext,
  medium: CaptionedMedium,
  items: readonly Item[],
): Promise<{ judged: readonly Judged[]; given: readonly string[] }> {
  const shown = items.map(({ frames }) => frames);
  const given = await medium.caption(shown);
  const see = (label: string, list: readonly (readonly RgbImage[])[]): string[] =>
    mapTold(context, label, list, (frames) => medium.write(medium.see(frames)));
  const others = items.map((_, index) => {
    const first = index - (index % medium.count);
    return given[first + elsewhere(index - first, medium.count)];
  });
  const subjects: [string, readonly string[]][] = [
    ['model', given],
    [`model, other ${medium.name}`, others],
    [`checker, true ${medium.name}`, see('checking', shown)],
  ];
  const restored = await reconstructed(context, shown);
  if (restored) subjects.push(['checker, reconstructed', see('checking reconstructions', restored)]);
  const judged = subjects.map(([name, list]) => ({
    name,
    captions: items.map((item, index) => ({ item, given: list[index], said: medium.parse(list[index]) })),
  }));
  return { judged, given };
}

/** No model can name a style that it was never shown. */
function withoutStyle(caption: string): string {
  return normalised(caption).replace(/, ?\w+ style$/, '');
}

function isExact({ group, caption }: Item, given: string): boolean {
  if (group === 'twemoji') return withoutStyle(given) === withoutStyle(caption);
  return normalised(given) === caption;
}

function tablesOf(judged: readonly Judged[], medium: CaptionedMedium): Table[] {
  const rows = (values: (captions: readonly JudgedCaption[], group: Group) => (number | undefined)[]): TableRow[] =>
    judged.flatMap(({ name, captions: all }) =>
      medium.groups.map((group) => {
        const ofGroup = all.filter(({ item }) => item.group === group);
        return { name, group, control: name !== 'model', values: values(ofGroup, group) };
      }),
    );
  const facetColumns = medium.facets.map((name) => ({ name, format: 'share' as const }));
  const facetShares = (group: Group, share: (facet: FacetName) => number | undefined): (number | undefined)[] =>
    medium.facets.map((facet) => (facet === 'style' && group === 'twemoji' ? undefined : share(facet)));
  return [
    {
      title: `Captions of ${medium.name}, precision`,
      columns: [
        { name: 'exact', format: 'share' },
        ...facetColumns,
        { name: 'read', format: 'share' },
        { name: medium.name, format: 'count' },
      ],
      rows: rows((given, group) => [
        shareOf(given, (each) => isExact(each.item, each.given)),
        ...facetShares(group, (facet) => commonShare(given, facet, ({ said }) => said)),
        shareOf(given, ({ said }) => said.unread.length === 0),
        given.length,
      ]),
      note:
        'How much of what is said is so. Read: captions without a piece that the parser cannot read. The style counts for ' +
        `trained styles only. Other ${medium.name}: the captions compared with other ${medium.name} of their group.`,
    },
    {
      title: `Captions of ${medium.name}, recall`,
      columns: facetColumns,
      rows: rows((given, group) => facetShares(group, (facet) => commonShare(given, facet, ({ item }) => item.facets))),
      note: 'How much of what is so is said.',
    },
  ];
}

/** What is both said and so, of all that is said or of all that is so; undefined of nothing. */
function commonShare(
  given: readonly JudgedCaption[],
  facet: FacetName,
  ofWhat: (caption: JudgedCaption) => CaptionFacets,
): number | undefined {
  const sum = (count: (each: JudgedCaption) => number): number => given.reduce((total, each) => total + count(each), 0);
  const all = sum((each) => ofWhat(each)[facet].length);
  return all === 0 ? undefined : sum(({ item, said }) => commonCount(said[facet], item.facets[facet])) / all;
}

function examplesOf(items: readonly Item[], given: readonly string[], medium: CaptionedMedium): Example[] {
  const judged = items.map((item, index) => ({ item, text: given[index] }));
  return medium.groups.flatMap((group) =>
    judged
      .filter(({ item }) => item.group === group)
      .slice(0, shownCaptions)
      .map(({ item, text }) => {
        const right = isExact(item, text);
        const lines = [{ text: normalised(text), right }, ...(right ? [] : [{ text: `right: ${item.caption}` }])];
        return { title: '', group: `${medium.name}, ${group}`, pictures: [{ frames: item.frames }], lines, right };
      }),
  );
}
