import { Emu3Error } from '../../../kernels/core/errors.js';
import type { RgbImage } from '../../../tokenizer/index.js';

/** CIELAB (D65 white) in three planes, [3, side, side]: L* from 0 to 100, a* and b* roughly from -110 to 110. */
export interface LabPicture {
  readonly side: number;
  readonly planes: Float32Array;
}

/** sRGB byte to linear light (IEC 61966-2-1). */
const linear = Float64Array.from({ length: 256 }, (_, byte) => {
  const value = byte / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
});

/** The cube root with its linear toe from the definition of CIELAB (CIE 15:2004, section 8.2.1). */
function labCurve(ratio: number): number {
  return ratio > 216 / 24389 ? Math.cbrt(ratio) : (24389 / 27 / 116) * ratio + 16 / 116;
}

/** CIELAB of one colour in sRGB bytes. */
export function labOf(red: number, green: number, blue: number): [number, number, number] {
  const r = linear[red];
  const g = linear[green];
  const b = linear[blue];
  const x = labCurve((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047);
  const y = labCurve(0.2126729 * r + 0.7151522 * g + 0.072175 * b);
  const z = labCurve((0.0193339 * r + 0.119192 * g + 0.9503041 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/**
 * A picture in CIELAB after a 3x3 binomial blur, (1 2 1)/4 both ways with the border repeated, which takes most noise out.
 *
 * @throws Emu3Error `shape` when the picture is not square or its bytes do not fit its size.
 */
export function labPicture({ rgb, width, height }: RgbImage): LabPicture {
  if (width !== height || width < 16 || rgb.length !== width * height * 3) {
    throw new Emu3Error(`The checker looks at square pictures of 16 pixels at least; this is ${width}x${height}.`, {
      code: 'shape',
      where: `${rgb.length} bytes`,
      fix: 'Pass side x side RGB pixels, one byte a channel.',
    });
  }
  const pixels = width * height;
  const planes = new Float32Array(pixels * 3);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const lab = labOf(rgb[pixel * 3], rgb[pixel * 3 + 1], rgb[pixel * 3 + 2]);
    planes[pixel] = lab[0];
    planes[pixels + pixel] = lab[1];
    planes[2 * pixels + pixel] = lab[2];
  }
  return { side: width, planes: blurred(planes, width) };
}

function blurred(planes: Float32Array, side: number): Float32Array {
  const across = new Float32Array(planes.length);
  for (let index = 0; index < planes.length; index++) {
    const column = index % side;
    const left = planes[column > 0 ? index - 1 : index];
    const right = planes[column < side - 1 ? index + 1 : index];
    across[index] = (left + 2 * planes[index] + right) / 4;
  }
  const result = new Float32Array(planes.length);
  for (let index = 0; index < planes.length; index++) {
    const row = Math.floor(index / side) % side;
    const above = across[row > 0 ? index - side : index];
    const below = across[row < side - 1 ? index + side : index];
    result[index] = (above + 2 * across[index] + below) / 4;
  }
  return result;
}
