import { Emu3Error } from '../../kernels/core/errors.js';
import { contextLength, type DecodedBlock } from '../../engine/decode/index.js';
import type { Device } from '../../engine/device.js';
import type { RunEvents } from '../../engine/graph/index.js';
import { spatialFactor, type ClipEvents, type VisionTokenizer } from '../../engine/models/vision/index.js';
import type { ParameterStore } from '../../engine/parameters.js';
import type { QuantizationError, QuantizedParameters } from '../../engine/quantized/index.js';
import {
  prepareImage,
  type CodeClip,
  type CodeGrid,
  type PixelLimits,
  type RgbImage,
  type TextTokenizer,
} from '../../tokenizer/index.js';
import { parseTransformerConfig, type Emu3Config } from '../config/transformer.js';
import { parseVisionConfig } from '../config/vision.js';
import { checkBudget, planBudget } from '../memory/budget.js';
import { describePath, type ModelFolder } from '../folder.js';
import { loadVisionTokenizer, type LoadedVisionTokenizer } from '../load-model.js';
import type { LoadProgress, TransferOptions } from '../transfer.js';
import { writeAnswers, type Answer, type AnswerBatchEvents, type AnswerEvents, type AnswerPlan } from './answer.js';
import {
  planCaption,
  planChats,
  singleQuestion,
  type CaptionRequest,
  type ChatBatchEvents,
  type ChatContext,
  type ChatRequest,
  type DescribeRequest,
} from './chat.js';
import { decodeVisual } from './decode-visual.js';
import { DecoderPool, type DecoderPoolOptions } from './decoders.js';
import {
  checkEncoded,
  keepingRequest,
  restoreKept,
  tokensByChance,
  tokensUnderMask,
  type EditedImage,
  type EditRequest,
  type VariationRequest,
} from './edit.js';
import {
  PictureCollector,
  planPictures,
  randomSeed,
  type GeneratedImage,
  type GenerateEvents,
  type GenerateRequest,
  type PicturePlan,
  type PlanContext,
} from './generate.js';
import { readGenerationDefaults, type GenerationDefaults } from './generation-config.js';
import { checkLoadOptions, type Emu3LoadOptions, type Emu3LoadProgress } from './load-options.js';
import { checkAgreement, findVisionFolder, openTextTokenizer, readPixelLimits } from './parts.js';
import { clipOf, imagesOf, type EncodedImage } from './pixels.js';
import { rewritingQuestion, type PromptToRewrite } from './rewrite.js';
import type { EncodedVideo, VideoFrames } from './clip.js';
import type { VideoEvents } from './video-collector.js';
import { VideoPipeline } from './video.js';
import { loadPipelineWeights, type PipelineWeights } from './weights.js';
import type { DrawnVideo, EncodeClipOptions, ExtendRequest, GeneratedVideo, VideoRequest } from './video-request.js';

interface Emu3Parts {
  readonly device: Device;
  readonly config: Emu3Config;
  readonly transformer: PipelineWeights;
  readonly vision: LoadedVisionTokenizer;
  readonly tokenizer: TextTokenizer;
  readonly defaults: GenerationDefaults;
  readonly pixelLimits: PixelLimits;
}

/**
 * A whole Emu3 model: text and pictures in, text and pictures out (arXiv 2409.18869). Requests run one after the other;
 * programs are recorded at the first request of their kind and kept.
 */
export class Emu3 {
  readonly device: Device;
  readonly config: Emu3Config;
  /** The transformer's; merged adapters are part of them, others are not. */
  readonly parameters: ParameterStore | QuantizedParameters;
  readonly vision: VisionTokenizer;
  readonly tokenizer: TextTokenizer;
  /** From the folder's generation_config.json. */
  readonly defaults: GenerationDefaults;
  /** Sizes that pictures are brought to before they become tokens. */
  readonly pixelLimits: PixelLimits;
  private readonly transformer: PipelineWeights;
  private readonly visionWeights: LoadedVisionTokenizer['weights'];
  private readonly decoders: DecoderPool;
  private readonly videos: VideoPipeline;
  private queue: Promise<unknown> = Promise.resolve();
  private destroyed = false;

  private constructor(parts: Emu3Parts, decoding: DecoderPoolOptions) {
    this.device = parts.device;
    this.config = parts.config;
    this.transformer = parts.transformer;
    this.parameters = parts.transformer.parameters;
    this.vision = parts.vision.tokenizer;
    this.visionWeights = parts.vision.weights;
    this.tokenizer = parts.tokenizer;
    this.defaults = parts.defaults;
    this.pixelLimits = parts.pixelLimits;
    this.decoders = new DecoderPool(parts.device, parts.config, parts.transformer.weights, decoding);
    const { vision, pixelLimits, decoders } = this;
    const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => this.inTurn(work);
    this.videos = new VideoPipeline({ ...this.planContext, vision, pixelLimits, decoders, inTurn });
  }

  /**
   * Loads a model folder. Configs and tokenizers are checked against each other before a weight is read.
   *
   * @throws Emu3Error `missing`, `config`, `format`, `shape`, `dtype`, `duplicate`, `not-finite`, `io` for a folder that is
   *   no whole model, or adapters that do not go with it; `argument` for windows of other sizes and unknown formats; `limit`, `out-of-memory`, `device-lost`; `aborted`. Nothing stays on the GPU then.
   */
  static async load(options: Emu3LoadOptions): Promise<Emu3> {
    checkLoadOptions(options);
    const { device, folder, signal, onProgress, onBudget, memoryLimit } = options;
    const { weights = 'f32', cacheType = 'f32', windows = [], stagger } = options;
    const text = async (place: ModelFolder): Promise<[string, string]> => [
      await place.readText('config.json', signal),
      describePath(place, 'config.json'),
    ];
    const config = parseTransformerConfig(...(await text(folder)));
    const visionFolder = options.visionFolder ?? (await findVisionFolder(folder, signal));
    const visionConfig = parseVisionConfig(...(await text(visionFolder)));
    const tokenizer = options.tokenizer ?? (await openTextTokenizer(folder, signal));
    checkAgreement(config, tokenizer, visionConfig.codebook_size, folder.name);
    const defaults = await readGenerationDefaults(folder, signal);
    const pixelLimits = await readPixelLimits(visionFolder, spatialFactor(visionConfig), config.image_area, signal);

    if (onBudget !== undefined || memoryLimit !== undefined) {
      const model = { config, visionConfig, weights, cacheType };
      const budget = planBudget(device, model);
      onBudget?.(budget);
      checkBudget(device, model, budget, memoryLimit ?? Infinity);
    }

    const loadOptions = (part: Emu3LoadProgress['part']): TransferOptions => ({
      ...(signal && { signal }),
      onProgress: (progress: LoadProgress) => onProgress?.({ part, ...progress }),
    });
    const vision = await loadVisionTokenizer(device, visionFolder, loadOptions('vision tokenizer'));
    try {
      const transformer = await loadPipelineWeights(device, folder, config, {
        weights,
        adapters: options.adapters,
        cache: options.cache,
        cacheFrom: options.cacheFrom,
        onCache: options.onCache,
        model: loadOptions('transformer'),
        ofAdapters: loadOptions('adapters'),
      });
      const parts = { device, config, transformer, vision, tokenizer, defaults, pixelLimits };
      return new Emu3(parts, { cacheType, windows, stagger });
    } catch (error) {
      vision.weights.destroy();
      throw error;
    }
  }

  private get planContext(): PlanContext {
    const { tokenizer, defaults, config, factor } = this;
    return { tokenizer, defaults, imageArea: config.image_area, factor, contextLength: contextLength(config) };
  }

  /** How far each packed weight is from the file's; empty when all are f32. */
  get packing(): ReadonlyMap<string, QuantizationError> {
    return 'errors' in this.parameters ? this.parameters.errors : new Map();
  }

  /** Pixels along one side of a visual token. */
  get factor(): number {
    return spatialFactor(this.vision.config);
  }

  /**
   * Draws a picture.
   *
   * @throws Emu3Error `prompt` for an empty prompt or one too long for the context, `argument` for a size, ratio, guidance,
   *   temperature, top-k, top-p or seed outside its range (a NaN among them), `aborted`, `device-lost`.
   */
  async generate(request: GenerateRequest & GenerateEvents): Promise<GeneratedImage> {
    const [picture] = await this.generateBatch([request], request);
    return picture;
  }

  /** Draws several pictures side by side, each with settings of its own; faster than one after the other. */
  async generateBatch(requests: readonly GenerateRequest[], events: GenerateEvents = {}): Promise<GeneratedImage[]> {
    const plans = planPictures(requests, this.planContext);
    return this.inTurn(async () => {
      const collector = await this.decodePictures(plans, events);
      const pictures: GeneratedImage[] = [];
      for (const [index, { request, seed, size }] of plans.entries()) {
        const codes = collector.codes[index];
        const onPart = (done: number, total: number): void => events.onPixels?.({ picture: index, done, total });
        const image = await this.decodeGrid({ ...size, codes }, { signal: events.signal, onPart });
        pictures.push({ prompt: request.prompt, seed, size, ids: collector.ids[index], codes, image });
      }
      return pictures;
    });
  }

  /**
   * Draws the marked part of a picture anew; all pixels of the tokens around it stay as they are, to the bit. The model
   * writes in raster order: what it draws follows from what is above and to the left, not from what comes behind.
   *
   * @returns the picture at the size it was encoded at.
   * @throws Emu3Error as {@link generate} and {@link encodeImage}; `shape` for a mask of another size than the picture and
   *   for tokens that are not the picture's, `argument` for a mask that marks nothing.
   */
  async edit({ image, mask, ...request }: EditRequest & GenerateEvents): Promise<EditedImage> {
    const original = await this.encodedOf(image, request.signal);
    const redrawn = tokensUnderMask(mask, 'rgb' in image ? image : image.resized, original);
    const [drawn] = await this.generateBatch([keepingRequest(request, original, redrawn)], request);
    return restoreKept(drawn, original, redrawn);
  }

  /**
   * Draws pictures like another one: each keeps its codes but for a share drawn anew, which its seed chooses.
   *
   * @throws Emu3Error as {@link generate} and {@link encodeImage}; `argument` for a share that is not above 0 and at most 1.
   */
  async vary(requests: readonly VariationRequest[], events: GenerateEvents = {}): Promise<EditedImage[]> {
    const parts: { request: GenerateRequest; redrawn: Uint8Array }[] = [];
    const originals = new Map<RgbImage | EncodedImage, EncodedImage>();
    for (const { image, share, ...request } of requests) {
      const seed = request.seed ?? randomSeed();
      const original = originals.get(image) ?? (await this.encodedOf(image, events.signal));
      originals.set(image, original);
      const redrawn = tokensByChance(original, share, seed);
      parts.push({ request: keepingRequest({ ...request, seed }, original, redrawn), redrawn });
    }
    const drawn = await this.generateBatch(
      parts.map(({ request }) => request),
      events,
    );
    return drawn.map((picture, index) => ({ ...picture, redrawn: parts[index].redrawn }));
  }

  /** What is encoded already stays as it is. */
  private async encodedOf(image: RgbImage | EncodedImage, signal: AbortSignal | undefined): Promise<EncodedImage> {
    if ('rgb' in image) return this.encodeImage(image, signal && { signal });
    checkEncoded(image, this.factor);
    return image;
  }

  private async decodePictures(plans: readonly PicturePlan[], events: GenerateEvents): Promise<PictureCollector> {
    const { special } = this.tokenizer;
    const collector = new PictureCollector(plans, special, events);
    const add = (block: DecodedBlock): void => collector.add(block);
    await decodeVisual(plans, { decoders: this.decoders, special }, add, events.signal);
    return collector;
  }

  /**
   * Turns a picture into tokens, resized to the model's limits first.
   *
   * @throws Emu3Error `image` for a picture that is too small or more than 5 times as long as wide.
   */
  async encodeImage(
    image: RgbImage,
    options: { limits?: Partial<PixelLimits> } & RunEvents = {},
  ): Promise<EncodedImage> {
    const prepared = prepareImage(image, { ...this.pixelLimits, ...options.limits });
    return this.inTurn(async () => {
      const { codes, height, width } = await this.vision.encode(clipOf(prepared), options.signal, options.onPart);
      return { codes, height, width, resized: prepared.resized };
    });
  }

  /** Turns tokens back into a picture. @throws Emu3Error `token`, `image` for codes that are no picture. */
  async decodeCodes(grid: CodeGrid, options: RunEvents = {}): Promise<RgbImage> {
    return this.inTurn(() => this.decodeGrid(grid, options));
  }

  private async decodeGrid({ codes, height, width }: CodeGrid, events: RunEvents): Promise<RgbImage> {
    const clip = { batch: 1, frames: 1, height, width, codes: Uint32Array.from(codes) };
    const [image] = imagesOf(await this.vision.decode(clip, true, events.signal, events.onPart));
    return image;
  }

  /**
   * Turns a clip into tokens, resized to the model's limits first. Clips of any length: the GPU sees a few frames at a time.
   *
   * @param frames of one size, a multiple of the frames that become one latent frame (4 in the released models).
   * @throws Emu3Error `argument` for another number of frames or a bad frame rate, `shape` for frames of different sizes,
   *   `image` as {@link encodeImage}, `aborted`.
   */
  async encodeClip(frames: readonly RgbImage[], options: EncodeClipOptions): Promise<EncodedVideo> {
    return this.videos.encode(frames, options);
  }

  /** Turns tokens back into frames. @throws Emu3Error `argument`, `shape`, `token` for codes that are no clip. */
  async decodeClip(clip: CodeClip, events: ClipEvents = {}): Promise<VideoFrames> {
    return this.videos.decode(clip, events);
  }

  /**
   * Draws a video, from a text alone or from a text and what it begins with.
   *
   * @throws Emu3Error as {@link generate} and {@link encodeClip}; `prompt` for a video beyond the context, with how many
   *   frames would fit.
   */
  async generateVideo(request: VideoRequest & VideoEvents): Promise<GeneratedVideo> {
    const [video] = await this.videos.generate([request], request);
    return video;
  }

  /** Draws several videos side by side, as many as fit the context together, each with settings of its own. */
  async generateVideoBatch(requests: readonly VideoRequest[], events: VideoEvents = {}): Promise<GeneratedVideo[]> {
    return this.videos.generate(requests, events);
  }

  /**
   * Continues a clip, any number of times: the model sees the last latent frames as the beginning of a video and draws what
   * comes next. The codes that are there stay as they are.
   *
   * @returns the whole clip.
   * @throws Emu3Error as {@link generateVideo}.
   */
  async extendVideo(request: ExtendRequest & VideoEvents): Promise<DrawnVideo> {
    return this.videos.extend(request, request);
  }

  /**
   * Answers a question about one picture or clip; see {@link chat}.
   *
   * @throws Emu3Error as {@link chat}, `argument` without a picture.
   */
  async describe(request: DescribeRequest & AnswerEvents): Promise<Answer> {
    return this.chat({ ...request, messages: singleQuestion(request) });
  }

  /**
   * Answers the last question of a conversation, whose questions may each be about any number of pictures and clips.
   * Takes the most probable tokens unless a temperature is given.
   *
   * @throws Emu3Error `prompt` for a conversation that is empty, out of order, does not end with a question or does not
   *   fit the context; `argument` for a longest answer, temperature, top-k, top-p or seed outside its range; `image` and
   *   `token` for bad pictures; `aborted`, `device-lost`.
   */
  async chat(request: ChatRequest & AnswerEvents): Promise<Answer> {
    const [answer] = await this.chatBatch([request], request);
    return answer;
  }

  /**
   * Answers several conversations side by side, each with settings of its own: the same answers as one after the other,
   * faster. Answers whose longest would not fit the context behind another's prompt wait for their turn, so say
   * `maxNewTokens`.
   *
   * @throws Emu3Error as {@link chat}, naming the request.
   */
  async chatBatch(requests: readonly ChatRequest[], events: ChatBatchEvents = {}): Promise<Answer[]> {
    const plans = await planChats(requests, this.chatContext(events.signal), events.encodedImages ?? new WeakMap());
    return this.write(plans, events);
  }

  /**
   * Writes a caption, for models that learned pictures with the caption last; no question is asked.
   *
   * @throws Emu3Error as {@link describe}.
   */
  async caption(request: CaptionRequest & AnswerEvents): Promise<Answer> {
    const [answer] = await this.write([await planCaption(request, this.chatContext(request.signal))], request);
    return answer;
  }

  /**
   * Writes short prompts out in full, for models that learned to (the nano model): asked nothing but the prompt, it answers
   * with what such a picture or clip shows, and where. Emu3's evaluation had prompts rewritten too (arXiv 2409.18869,
   * section 3.1), by another model. With what a video begins with before the prompt it says what is there, beside what the
   * prompt tells of it.
   *
   * @returns as many prompts; the one given where the model has no answer.
   * @throws Emu3Error as {@link chat}.
   */
  async rewritePrompts(requests: readonly PromptToRewrite[], events: AnswerBatchEvents = {}): Promise<string[]> {
    const questions = requests.map((request) => rewritingQuestion(request, this.planContext));
    const answers = await this.chatBatch(questions, events);
    return answers.map(({ text }, index) => text.trim() || requests[index].prompt);
  }

  private write(plans: readonly AnswerPlan[], events: AnswerBatchEvents): Promise<Answer[]> {
    const { decoders, tokenizer } = this;
    return this.inTurn(() =>
      writeAnswers(plans, { decoders, tokenizer, contextLength: contextLength(this.config) }, events),
    );
  }

  private chatContext(signal: AbortSignal | undefined): ChatContext {
    const { tokenizer, defaults, pixelLimits } = this;
    const encode: ChatContext['encode'] = (image) => this.encodeImage(image, signal && { signal });
    return { tokenizer, defaults, pixelLimits, contextLength: contextLength(this.config), encode };
  }

  /** One request at a time: programs and caches are shared. */
  private inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.queue.then(() => {
      if (this.destroyed) {
        throw new Emu3Error('The model has been let go of.', {
          code: 'argument',
          where: 'Emu3',
          fix: 'Load it again.',
        });
      }
      return work();
    });
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  /** Frees what the model holds on the GPU, when the requests under way are done; the device stays. */
  async destroy(): Promise<void> {
    if (this.destroyed) return;
    await this.inTurn(async () => {
      this.destroyed = true;
    });
    await this.vision.destroy();
    this.decoders.destroy();
    this.transformer.destroy();
    this.visionWeights.destroy();
  }
}
