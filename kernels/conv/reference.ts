import type { ConvGeometry } from './geometry.js';

/** `[batch, time, height, width, channels]`. */
type ClipShape = readonly [number, number, number, number, number];

/**
 * Convolution in float64, channels last, weights in hub layout `[Co, Ci, kt, kh, kw]`:
 *
 *   out[b,t,y,x,co] = bias[co] + sum over dt, dy, dx, ci of
 *                     x[b, t*st + dt - pt, y*sh + dy - ph, x*sw + dx - pw, ci] * weight[co, ci, dt, dy, dx]
 *
 * with zeros outside x. It refuses nothing: shapes are the caller's word.
 */
export function convReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
  shapes: { x: ClipShape; out: ClipShape },
  geometry: ConvGeometry,
): Float64Array {
  const [batch, inTime, inHeight, inWidth, inChannels] = shapes.x;
  const [, outTime, outHeight, outWidth, outChannels] = shapes.out;
  const [kt, kh, kw] = geometry.kernel;
  const [st, sh, sw] = geometry.stride;
  const [pt, ph, pw] = geometry.before;
  const out = new Float64Array(batch * outTime * outHeight * outWidth * outChannels);
  let index = 0;
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < outTime; t++)
      for (let y = 0; y < outHeight; y++)
        for (let column = 0; column < outWidth; column++)
          for (let co = 0; co < outChannels; co++) {
            let sum = bias?.[co] ?? 0;
            for (let dt = 0; dt < kt; dt++)
              for (let dy = 0; dy < kh; dy++)
                for (let dx = 0; dx < kw; dx++) {
                  const it = t * st + dt - pt;
                  const iy = y * sh + dy - ph;
                  const ix = column * sw + dx - pw;
                  if (it < 0 || iy < 0 || ix < 0 || it >= inTime || iy >= inHeight || ix >= inWidth) continue;
                  const pixel = ((b * inTime + it) * inHeight + iy) * inWidth + ix;
                  for (let ci = 0; ci < inChannels; ci++) {
                    const tap = (((co * inChannels + ci) * kt + dt) * kh + dy) * kw + dx;
                    sum += x[pixel * inChannels + ci] * weight[tap];
                  }
                }
            out[index++] = sum;
          }
  return out;
}

/**
 * Gradients of {@link convReference} with respect to x, weight (hub layout) and bias, given the gradient of its output:
 * every product of the forward pass hands the output's gradient to its two factors.
 */
export function convGradientsReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  outGradient: ArrayLike<number>,
  shapes: { x: ClipShape; out: ClipShape },
  geometry: ConvGeometry,
): { x: Float64Array; weight: Float64Array; bias: Float64Array } {
  const [, inTime, inHeight, inWidth, inChannels] = shapes.x;
  const [, outTime, outHeight, outWidth, outChannels] = shapes.out;
  const [kt, kh, kw] = geometry.kernel;
  const [st, sh, sw] = geometry.stride;
  const [pt, ph, pw] = geometry.before;
  const xGradient = new Float64Array(x.length);
  const weightGradient = new Float64Array(weight.length);
  const biasGradient = new Float64Array(outChannels);
  for (let index = 0; index < outGradient.length; index++) {
    const co = index % outChannels;
    const column = Math.floor(index / outChannels) % outWidth;
    const y = Math.floor(index / (outChannels * outWidth)) % outHeight;
    const t = Math.floor(index / (outChannels * outWidth * outHeight)) % outTime;
    const b = Math.floor(index / (outChannels * outWidth * outHeight * outTime));
    const gradient = outGradient[index];
    biasGradient[co] += gradient;
    for (let tap = 0; tap < kt * kh * kw; tap++) {
      const it = t * st + Math.floor(tap / (kh * kw)) - pt;
      const iy = y * sh + (Math.floor(tap / kw) % kh) - ph;
      const ix = column * sw + (tap % kw) - pw;
      if (it < 0 || iy < 0 || ix < 0 || it >= inTime || iy >= inHeight || ix >= inWidth) continue;
      for (let ci = 0; ci < inChannels; ci++) {
        const from = (((b * inTime + it) * inHeight + iy) * inWidth + ix) * inChannels + ci;
        const at = (co * inChannels + ci) * kt * kh * kw + tap;
        xGradient[from] += gradient * weight[at];
        weightGradient[at] += gradient * x[from];
      }
    }
  }
  return { x: xGradient, weight: weightGradient, bias: biasGradient };
}
