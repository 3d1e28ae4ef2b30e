/** `[batch, time, height, width, channels]`. */
type ClipShape = readonly number[];

/**
 * Nearest resize of a clip in float64: `out[b,t,y,x,c] = x[b, floor(t*T/T'), floor(y*H/H'), floor(x*W/W'), c]`. Batch and
 * channels of both shapes are taken to be equal.
 */
export function upsampleReference(x: ArrayLike<number>, from: ClipShape, to: ClipShape): Float64Array {
  const [batch, outTime, outHeight, outWidth, channels] = to;
  const [, inTime, inHeight, inWidth] = from;
  const out = new Float64Array(batch * outTime * outHeight * outWidth * channels);
  let index = 0;
  for (let b = 0; b < batch; b++)
    for (let t = 0; t < outTime; t++)
      for (let y = 0; y < outHeight; y++)
        for (let column = 0; column < outWidth; column++)
          for (let c = 0; c < channels; c++) {
            const it = Math.floor((t * inTime) / outTime);
            const iy = Math.floor((y * inHeight) / outHeight);
            const ix = Math.floor((column * inWidth) / outWidth);
            out[index++] = x[(((b * inTime + it) * inHeight + iy) * inWidth + ix) * channels + c];
          }
  return out;
}
