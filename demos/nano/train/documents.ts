import {
  packDocuments,
  type PackedBatch,
  type SequenceShape,
  type TokenDocument,
} from '../../../engine/train/packing.js';
import {
  captionLastSample,
  conversationSample,
  documentIds,
  generationSample,
  ignoreIndex,
  isVisual,
  videoSample,
  type CodeClip,
  type CodeGrid,
  type ConversationTurn,
  type Sample,
  type TextTokenizer,
} from '../../../tokenizer/index.js';
import { fullCaption, fullClipCaption, variedCaption, variedClipCaption, writtenOut } from '../world/captions.js';
import {
  comparingQuestions,
  drawClipQuestion,
  drawQuestion,
  reasonedAnswer,
  type Question,
} from '../world/questions.js';
import { SeededRandom } from '../world/random.js';
import { framesPerSecond, gridStep, largeSide, largeSlotSize, splitOf, type Scene } from '../world/scene.js';
import { drawTrainingScene, type Corpora, type CorpusKind, type TokenizedScene } from './corpus.node.js';
import { Drawings, thingsOf, type DrawingOptions, type Reading } from './drawings.js';
import { inLetters, worldWords, type WorldWords } from './letters.js';

/**
 * What a document teaches. `draw`, `draw large` and `film`: caption, then picture or clip in canonical codes; what `draw` and
 * `film` show is new every time, composed of the corpora's parts. `tell`: picture or clip, then its full caption. `ask`: picture
 * or clip, then questions and answers, which begin with what is seen. `compare`: two pictures, then a question about one.
 * `rewrite`: no picture, but a caption as people write it, then the full one of a picture or clip that it fits; `rewrite
 * continued`: the beginning of a clip before it, which says what the caption leaves out. `conclude`: no picture either, but a
 * question whose answer names things at random; what follows from them is learned, and cheaply.
 */
export const documentKinds = [
  'draw',
  'draw large',
  'tell',
  'ask',
  'compare',
  'rewrite',
  'conclude',
  'film',
  'tell clip',
  'ask clip',
  'rewrite clip',
  'rewrite continued',
  'conclude clip',
] as const;
export type DocumentKind = (typeof documentKinds)[number];

/** Shares of the kinds in a stage; they need not sum to one. */
export type Mixture = Readonly<Partial<Record<DocumentKind, number>>>;

export interface DocumentOptions extends DrawingOptions {
  mixture: Mixture;
  /** Share of drawings without their caption, for classifier-free guidance. */
  captionDropout: number;
  /** Share of drawings with their full caption, which leaves nothing to guess; the others' are as people write them. */
  fullCaptions: number;
  /**
   * In this share of the drawings up to `highest` of the codes that are read (not those to be predicted) are random, so
   * that the caption is listened to and a wrong code does not spoil what follows.
   */
  contextNoise: { share: number; highest: number };
  /**
   * Weight of the codes in rows where still things begin, the first frame's in clips: what a caption says is decided there,
   * and the codes below follow from those above. The rows are the same in every picture, so no code is favoured.
   */
  beginWeight: number;
  /** Weight of the codes that show a thing in films: three quarters of all are bare background, which is soon known. */
  thingWeight: number;
  /** Weight of what is not a code in drawings: captions say little about one another, and the grammar is forced. */
  textWeight: number;
  /** Questions of a conversation about a picture or clip. */
  questions: number;
  /** Weight of an answer's tokens: a yes or no is one among hundreds of codes, and would be drowned by them. */
  answerWeight: number;
  /** Of what follows from the things that an answer names, whether they are seen or only named: a few tokens of each. */
  conclusionWeight: number;
  /**
   * Share of the documents without a picture in which letters stand for all things and colours, each time others: what is
   * asked for must then be copied and compared, as it cannot be known. Copying in context is learned from many rare words
   * rather than few frequent ones (Chan et al. 2022, arXiv 2205.05055), and combinations that are held out are not shown.
   */
  letters: number;
}

/** Where the stream of documents stands; all there is to know for going on. */
export interface DocumentPosition {
  readonly random: number;
  /** Seeds of the documents that are drawn and in no batch yet, the oldest first. */
  readonly waiting: readonly number[];
}

/**
 * Share of the prompts to be written out with sight of the beginning that say how quickly a thing moves. Where four in ten left
 * it open, it was guessed from what is seen in the others as well, wrongly in a third, and a wrong pace costs most of all.
 */
const pacesCopied = 0.95;

/** Documents drawn at most until one fits a sequence. */
const mostAttempts = 1000;

/**
 * Documents that wait for a place in a batch, so that one can be found for most gaps: 4 % of the nano model's tokens are
 * padding, and were 17 % when only the next document was tried. The oldest go first, so none waits for long.
 */
const mostWaiting = 32;

/** Endless documents over corpora of stills and clips. A document follows from its 32-bit seed alone. */
export class DocumentStream {
  private readonly random: SeededRandom;
  private readonly waiting: { readonly seed: number; readonly document: TokenDocument }[];
  private readonly kinds: readonly DocumentKind[];
  private readonly totals: readonly number[];
  private readonly drawings: Drawings;
  private readonly words: WorldWords;

  constructor(
    private readonly corpora: Corpora,
    private readonly text: TextTokenizer,
    private readonly options: DocumentOptions,
    position: DocumentPosition,
  ) {
    this.random = new SeededRandom(position.random);
    this.kinds = documentKinds.filter((kind) => (options.mixture[kind] ?? 0) > 0);
    this.drawings = new Drawings(corpora, text.special.visualCount, options);
    this.words = worldWords(text);
    let sum = 0;
    this.totals = this.kinds.map((kind) => (sum += options.mixture[kind] ?? 0));
    this.waiting = position.waiting.map((seed) => ({ seed, document: this.document(seed) }));
  }

  save(): DocumentPosition {
    return { random: this.random.save(), waiting: this.waiting.map(({ seed }) => seed) };
  }

  nextBatch(shape: SequenceShape): PackedBatch {
    const next = (room: number): TokenDocument | undefined => {
      while (this.waiting.length < mostWaiting) {
        const drawn = this.drawn(shape.length);
        // Where nothing fits, packing says so.
        if (drawn.document.ids.length > shape.length) return drawn.document;
        this.waiting.push(drawn);
      }
      const fitting = this.waiting.findIndex(({ document }) => document.ids.length <= room);
      return fitting < 0 ? undefined : this.waiting.splice(fitting, 1)[0].document;
    };
    return packDocuments(next, shape, this.text.special.pad);
  }

  /** The next document that fits a sequence: the longest conversations are passed over. */
  private drawn(length: number): { seed: number; document: TokenDocument } {
    for (let attempt = 1; ; attempt++) {
      const seed = this.random.nextUint32();
      const document = this.document(seed);
      if (document.ids.length <= length || attempt === mostAttempts) return { seed, document };
    }
  }

  private document(seed: number): TokenDocument {
    const random = new SeededRandom(seed);
    const place = random.next() * this.totals[this.totals.length - 1];
    const kind = this.kinds[this.totals.findIndex((total) => place < total)];
    const pick = (corpus: CorpusKind): TokenizedScene => random.pick(this.corpora[corpus]);
    switch (kind) {
      case 'draw':
      case 'draw large': {
        const still =
          kind === 'draw' ? this.drawings.composed('stills', random) : this.drawings.picked('large stills', random);
        const { scene, side, codes } = still;
        const caption = this.caption(scene, random, fullCaption, variedCaption);
        const ids = documentIds(generationSample(caption, { codes, height: side, width: side }), this.text);
        const leavesNothingOpen = kind === 'draw' && caption === fullCaption(scene);
        const reading = leavesNothingOpen ? this.drawings.stranger(still, random) : undefined;
        return this.drawing(ids, random, side, { ends: true, reading });
      }
      case 'film': {
        const { film, told, reading } = this.drawings.film(random);
        const caption = this.caption(told, random, fullClipCaption, variedClipCaption);
        const ids = documentIds(videoSample(caption, clipOf(film)), this.text);
        return this.drawing(ids, random, film.side, { ends: false, reading, isThing: thingsOf(film) });
      }
      case 'tell': {
        const item = pick('stills');
        const ids = documentIds(captionLastSample(fullCaption(item.scene), gridOf(item)), this.text);
        return { ids, labels: behindVision(ids, this.text.special) };
      }
      case 'tell clip': {
        const item = pick('clips');
        const ids = documentIds(captionLastSample(fullClipCaption(item.scene), clipOf(item)), this.text);
        return { ids, labels: behindVision(ids, this.text.special) };
      }
      case 'ask': {
        const item = pick('stills');
        const turns = this.conversation(gridOf(item), item.scene, () => drawQuestion(item.scene, random));
        return this.answering(turns);
      }
      case 'ask clip': {
        const item = pick('clips');
        const turns = this.conversation(clipOf(item), item.scene, () => drawClipQuestion(item.scene, random));
        return this.answering(turns);
      }
      case 'compare': {
        const items = [pick('stills'), pick('stills')];
        const which = random.integer(2);
        const { scene } = items[which];
        const question = drawQuestion(scene, random);
        const text = `in the ${which === 0 ? 'first' : 'second'} picture, ${question.question}`;
        const turns: ConversationTurn[] = [
          { role: 'user', text, vision: items.map(gridOf) },
          { role: 'assistant', text: ` ${reasonedAnswer(scene, question)}` },
        ];
        return this.answering(turns);
      }
      case 'rewrite':
        for (;;) {
          const { caption, full, scene } = writtenOut(drawTrainingScene('stills', random), random);
          if (splitOf(scene) === 'seen') return this.rewriting(caption, full, random);
        }
      case 'conclude':
        return this.concluding('stills', random, (scene) => drawQuestion(scene, random, comparingQuestions));
      case 'conclude clip':
        return this.concluding('clips', random, (scene) => drawClipQuestion(scene, random));
      case 'rewrite clip': {
        const scene = drawTrainingScene('clips', random);
        return this.rewriting(variedClipCaption(scene, random), fullClipCaption(scene), random);
      }
      case 'rewrite continued': {
        const { item, told, given } = this.drawings.begun(random);
        const clip = clipOf({ ...item, latentFrames: given, codes: item.codes.subarray(0, given * item.side ** 2) });
        const turns: ConversationTurn[] = [
          { role: 'user', text: variedClipCaption(told, random, pacesCopied), vision: [clip] },
          { role: 'assistant', text: ` ${fullClipCaption(item.scene)}` },
        ];
        return this.weighted(conversationSample(turns, this.text), this.options.answerWeight);
      }
    }
  }

  private answering(turns: readonly ConversationTurn[]): TokenDocument {
    const { ids, labels } = conversationSample(turns, this.text);
    const { answerWeight, conclusionWeight } = this.options;
    const concluded = this.concluded(labels);
    return { ids, labels, weights: Float32Array.from(concluded, (is) => (is ? conclusionWeight : answerWeight)) };
  }

  /** Which tokens of answers follow from those before: the marks beside things, and what stands behind the colon. */
  private concluded(labels: readonly number[]): boolean[] {
    const { colon, comma, things } = this.words;
    let isBehindColon = false;
    return labels.map((label, at) => {
      if (label === ignoreIndex) {
        isBehindColon = false;
        return false;
      }
      const before = labels[at - 1];
      const is = isBehindColon || before === comma || things.has(before);
      if (label === colon) isBehindColon = true;
      return is;
    });
  }

  private weighted({ ids, labels }: Sample, weight: number): TokenDocument {
    return { ids, labels, weights: new Float32Array(ids.length).fill(weight) };
  }

  /**
   * A question about a scene that is not shown: which things there are cannot be known and is not learned, but the marks
   * beside them are, and what stands behind the colon. Often there are fewer things than pictures have: comparing is learned
   * with one first.
   */
  private concluding(kind: 'stills' | 'clips', random: SeededRandom, ask: (scene: Scene) => Question): TokenDocument {
    for (;;) {
      const { objects, ...rest } = drawTrainingScene(kind, random);
      const scene = { ...rest, objects: objects.slice(0, 1 + random.integer(objects.length)) };
      if (splitOf(scene) !== 'seen') continue;
      const question = ask(scene);
      const answer = reasonedAnswer(scene, question);
      if (answer === question.answer) continue;
      const turns: ConversationTurn[] = [
        { role: 'user', text: question.question },
        { role: 'assistant', text: ` ${answer}` },
      ];
      const { ids, labels } = conversationSample(turns, this.text);
      const concluded = this.concluded(labels);
      const learned = labels.map((label, at) => (concluded[at] ? label : ignoreIndex));
      return this.weighted(this.disguised({ ids, labels: learned }, random), this.options.conclusionWeight);
    }
  }

  /** A conversation in which a caption is written out in full: for prompts that leave much open (see `--rewrite`). */
  private rewriting(caption: string, full: string, random: SeededRandom): TokenDocument {
    const turns: ConversationTurn[] = [
      { role: 'user', text: caption },
      { role: 'assistant', text: ` ${full}` },
    ];
    return this.weighted(this.disguised(conversationSample(turns, this.text), random), this.options.answerWeight);
  }

  /** Now and then the same with letters for things and colours. */
  private disguised(sample: Sample, random: SeededRandom): Sample {
    return random.next() < this.options.letters ? inLetters(sample, this.words, random) : sample;
  }

  private caption(
    scene: Scene,
    random: SeededRandom,
    full: (scene: Scene) => string,
    varied: (scene: Scene, random: SeededRandom) => string,
  ): string {
    const { captionDropout, fullCaptions } = this.options;
    const caption = random.next() < fullCaptions ? full(scene) : varied(scene, random);
    return random.next() < captionDropout ? '' : caption;
  }

  private conversation(vision: CodeGrid | CodeClip, scene: Scene, ask: () => Question): ConversationTurn[] {
    return Array.from({ length: this.options.questions }, (_, index): ConversationTurn[] => {
      const question = ask();
      return [
        { role: 'user', text: question.question, ...(index === 0 && { vision: [vision] }) },
        { role: 'assistant', text: ` ${reasonedAnswer(scene, question)}` },
      ];
    }).flat();
  }

  /** A drawing: its codes are learned in full, the rest a little. A picture ends with EOS here, unlike the released data. */
  private drawing(
    ids: readonly number[],
    random: SeededRandom,
    side: number,
    {
      ends,
      reading,
      isThing = () => false,
    }: { ends: boolean; reading?: Reading | undefined; isThing?: (cell: number) => boolean },
  ): TokenDocument {
    const { special } = this.text;
    const { beginWeight, thingWeight, textWeight } = this.options;
    const all = ends ? [...ids, special.eos] : [...ids];
    const { share, highest } = this.options.contextNoise;
    const rate = reading?.isExact !== true && random.next() < share ? random.next() * highest : 0;
    const read: number[] = [];
    const labels: number[] = [];
    const weights = new Float32Array(all.length);
    let codes = 0;
    all.forEach((id, at) => {
      const cell = isVisual(id, special) ? codes++ : undefined;
      if (cell === undefined) {
        read.push(id);
        labels.push(id);
        weights[at] = textWeight;
        return;
      }
      const seen = reading ? special.visualStart + reading.codes[cell] : id;
      read.push(random.next() < rate ? special.visualStart + random.integer(special.visualCount) : seen);
      labels.push(reading && !reading.isLearned(cell) ? ignoreIndex : id);
      const begins = beginRows(side).includes(Math.floor(cell / side));
      weights[at] = Math.max(begins ? beginWeight : 1, isThing(cell) ? thingWeight : 1);
    });
    return { ids: read, labels, weights };
  }
}

/** Rows of tokens, of a picture of so many, in which still things begin. */
function beginRows(side: number): readonly number[] {
  return [0, side * gridStep === largeSide ? (largeSide - largeSlotSize) / gridStep : side / 2];
}

/** Labels of everything behind the picture. */
function behindVision(ids: readonly number[], { eoi }: TextTokenizer['special']): number[] {
  const end = ids.indexOf(eoi);
  return ids.map((id, index) => (index > end ? id : ignoreIndex));
}

export function gridOf({ codes, side }: TokenizedScene): CodeGrid {
  return { codes, height: side, width: side };
}

export function clipOf({
  codes,
  side,
  latentFrames,
}: Pick<TokenizedScene, 'codes' | 'side' | 'latentFrames'>): CodeClip {
  return { codes, height: side, width: side, frames: latentFrames, framesPerSecond };
}
