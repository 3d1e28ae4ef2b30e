import { Emu3Error } from '../../kernels/core/errors.js';

/**
 * An element of the page by its id.
 * @throws Emu3Error `missing` when the page has none of this kind.
 */
export function element<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Emu3Error(`The page has no ${kind.name} of this name.`, {
    code: 'missing',
    where: `#${id}`,
    fix: 'Serve index.html and main.js of the same version.',
  });
}

/** A canvas as large as the picture. @param rgb [height][width][3] */
export function pictureCanvas(rgb: Uint8Array, height: number, width: number): HTMLCanvasElement {
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
    if (blob === null) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    // The browser has taken the file by the time the next task runs.
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, 'image/png');
}

/** `3.4 MB` */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** `1.25 s` or `340 ms` */
export function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}
