import { Emu3Error } from '../../kernels/core/errors.js';
import type { RgbImage } from '../../index.js';

/**
 * The first element within another that matches a selector.
 * @throws Emu3Error `missing` when there is none of this kind.
 */
export function find<Kind extends HTMLElement>(within: ParentNode, selector: string, kind: new () => Kind): Kind {
  const found = within.querySelector(selector);
  if (found instanceof kind) return found;
  throw new Emu3Error(`The page has no ${kind.name} of this name.`, {
    code: 'missing',
    where: selector,
    fix: 'Serve index.html and main.js of the same version.',
  });
}

/** An element of the page by its id. @throws Emu3Error as {@link find}. */
export function element<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  return find(document, `#${id}`, kind);
}

export function setText(id: string, text: string): void {
  element(id, HTMLElement).textContent = text;
}

/** Calls back when a button is pressed. */
export function onPress(id: string, work: () => void): HTMLButtonElement {
  const button = element(id, HTMLButtonElement);
  button.addEventListener('click', work);
  return button;
}

/** Lets the buttons of a group write their text into a field. */
export function offerExamples(groupId: string, field: HTMLInputElement): void {
  for (const example of document.querySelectorAll<HTMLButtonElement>(`#${groupId} button`)) {
    example.addEventListener('click', () => {
      field.value = example.textContent;
      field.focus();
    });
  }
}

/** A canvas as large as the picture. */
export function pictureCanvas({ rgb, height, width }: RgbImage): HTMLCanvasElement {
  const pixels = new ImageData(width, height);
  pixels.data.fill(255);
  for (let at = 0; at < rgb.length; at++) pixels.data[4 * Math.floor(at / 3) + (at % 3)] = rgb[at];
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  canvas.getContext('2d')?.putImageData(pixels, 0, 0);
  return canvas;
}

/** Saves a picture as a PNG, every pixel as `scale` x `scale` pixels. */
export function downloadPng(picture: HTMLCanvasElement, scale: number, name: string): void {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: picture.width * scale, height: picture.height * scale });
  const context = canvas.getContext('2d');
  if (context === null) return;
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    if (blob !== null) downloadBlob(blob, name);
  }, 'image/png');
}

export function downloadBlob(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has taken the file by the time the next task runs.
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A file's name out of a prompt, without its ending. */
export function fileName(prompt: string, seed: number): string {
  return `${prompt.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)}-${seed}`;
}
