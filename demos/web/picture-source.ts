import type { OnePicture, RgbImage } from '../../index.js';
import { counted } from './format.js';
import { find, pictureCanvas } from './dom.js';
import type { Clip, Gallery, Picture } from './host.js';

/** What was chosen: a picture or a clip. */
export type Chosen = { picture: Picture; clip?: undefined } | { clip: Clip; picture?: undefined };

/** A choice among the drawn picture, the clip, and a picture file, with a look at what is chosen. */
export class PictureSource {
  private readonly radios: HTMLInputElement[];
  private readonly file: HTMLInputElement;
  private readonly preview: HTMLCanvasElement;
  private readonly onChange: () => void;
  private gallery: Gallery = {};
  private fromFile: Picture | undefined;
  private shown: unknown;

  /**
   * @param root a fieldset with radio buttons of the values `none`, `drawn`, `clip` and `file`, as many as make sense, a
   *   file field and a canvas.
   */
  constructor(root: HTMLFieldSetElement, events: { onFile: (file: File) => void; onChange: () => void }) {
    this.radios = [...root.querySelectorAll<HTMLInputElement>('[type=radio]')];
    this.file = find(root, '[type=file]', HTMLInputElement);
    this.preview = find(root, 'canvas', HTMLCanvasElement);
    this.onChange = events.onChange;
    for (const radio of this.radios) radio.addEventListener('change', () => this.update());
    listenToFile(this.file, events.onFile);
  }

  get chosen(): Chosen | undefined {
    const value = this.radios.find(({ checked }) => checked)?.value;
    const picture = value === 'drawn' ? this.gallery.picture : value === 'file' ? this.fromFile : undefined;
    if (picture) return { picture };
    return value === 'clip' && this.gallery.clip ? { clip: this.gallery.clip } : undefined;
  }

  /** A picture file has been read: it is chosen. */
  take(picture: Picture): void {
    this.fromFile = picture;
    this.choose('file');
    this.update();
  }

  refresh(gallery: Gallery, ready: boolean): void {
    this.gallery = gallery;
    this.file.disabled = !ready;
    const there: Record<string, boolean> = {
      none: true,
      drawn: gallery.picture !== undefined,
      clip: gallery.clip !== undefined,
      file: this.fromFile !== undefined,
    };
    for (const radio of this.radios) radio.disabled = !there[radio.value];
    // Where something must be chosen, the first there is will do.
    if (!this.radios.some(({ checked }) => checked)) this.choose(this.radios.find(({ disabled }) => !disabled)?.value);
    this.update();
  }

  private choose(value: string | undefined): void {
    for (const radio of this.radios) {
      if (radio.value !== value) continue;
      radio.disabled = false;
      radio.checked = true;
    }
  }

  private update(): void {
    const { chosen } = this;
    const source = chosen?.picture ?? chosen?.clip;
    if (source === this.shown) return;
    this.shown = source;
    this.preview.hidden = chosen === undefined;
    if (chosen) this.show(...previewOf(chosen));
    this.onChange();
  }

  private show(pixels: RgbImage, label: string): void {
    Object.assign(this.preview, { height: pixels.height, width: pixels.width });
    this.preview.getContext('2d')?.drawImage(pictureCanvas(pixels), 0, 0);
    this.preview.ariaLabel = label;
  }
}

function previewOf({ picture, clip }: Chosen): [RgbImage, string] {
  if (picture) return [picture.encoded.resized, `Picture: ${picture.name}`];
  return [clip.frames[0], `First of ${counted(clip.frames.length, 'frame')}: ${clip.name}`];
}

/** As the model takes it. */
export function onePicture({ picture, clip }: Chosen): OnePicture {
  return picture ? { image: picture.encoded } : { clip: clip.codes };
}

/** Calls back with every file that is picked, also with the same one again. */
export function listenToFile(field: HTMLInputElement, onFile: (file: File) => void): void {
  field.addEventListener('change', () => {
    const file = field.files?.[0];
    field.value = '';
    if (file) onFile(file);
  });
}
