/** The layouts of documents: what stands where in prompts and in training samples. */
import type { Size } from '../image/sizes.js';
import { questionSegments } from './conversation.js';
import type { CodeClip, CodeGrid, Segment, VisionCodes } from './segments.js';
import {
  frameSegments,
  imageHeader,
  imageSegments,
  textSegment,
  videoHeader,
  videoSegments,
  visionSegments,
} from './segments.js';

/**
 * Prompt for a picture: begin, text, image start, size, image token. The model writes everything after that.
 *
 * @param text may be empty, as for an unconditional prompt
 * @param size of the picture, in tokens
 */
export function generationPrompt(text: string, size: Size): Segment[] {
  return [{ special: 'bos' }, ...textSegment(text), ...imageHeader(size)];
}

/**
 * Prompt for a video, laid out like {@link generationPrompt}. A video that has begun is continued by the same layout: its
 * header counts all latent frames, and those that are there already follow it.
 *
 * @param clip size, latent frames in all, and frame rate
 * @param begun codes of the first latent frames, `[frames][height][width]`; none unless told
 */
export function videoPrompt(text: string, clip: Omit<CodeClip, 'codes'>, begun: ArrayLike<number> = []): Segment[] {
  const frames = begun.length / (clip.height * clip.width);
  return [{ special: 'bos' }, ...textSegment(text), ...videoHeader(clip), ...frameSegments(clip, begun, frames)];
}

/** Prompt about a picture or clip: it comes before the question, and a full stop follows the question always. */
export function understandingPrompt(question: string, vision: VisionCodes): Segment[] {
  return [{ special: 'bos' }, ...questionSegments(question, [vision], true)];
}

/** Prompt for a caption without a question: the picture or clip alone, as in {@link captionLastSample}. */
export function captionPrompt(vision: VisionCodes): Segment[] {
  return [{ special: 'bos' }, ...visionSegments(vision)];
}

/**
 * Training sample of a picture: caption, then the picture. The released training data ends with image end and has no
 * end token.
 */
export function generationSample(caption: string, image: CodeGrid): Segment[] {
  return [{ special: 'bos' }, ...textSegment(caption), ...imageSegments(image)];
}

/** Training sample of a video: caption, the clip, end. */
export function videoSample(caption: string, clip: CodeClip): Segment[] {
  return [{ special: 'bos' }, ...textSegment(caption), ...videoSegments(clip), { special: 'eos' }];
}

/** Training sample with the caption last, from which the model learns to read pictures and clips. */
export function captionLastSample(caption: string, vision: VisionCodes): Segment[] {
  return [...captionPrompt(vision), ...textSegment(caption), { special: 'eos' }];
}

/**
 * Training sample of a question, its picture or clip, and its answer.
 *
 * @param answer stands right behind `ASSISTANT:`, so give it the space that should part them
 */
export function understandingSample(question: string, vision: VisionCodes, answer: string): Segment[] {
  return [...understandingPrompt(question, vision), ...textSegment(answer), { special: 'eos' }];
}
