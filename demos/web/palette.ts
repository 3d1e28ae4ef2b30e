/** A colour for every codebook entry, so that a picture can be guessed from its tokens before it is decoded. */

const iterations = 60;

/**
 * Entries that lie close together in the codebook get like colours: the three directions in which the codebook spreads
 * most (principal components) become lightness and the two colour axes of OKLab.
 * @param codebook [entries][dimension]
 * @returns sRGB bytes, [entries][3]
 */
export function codebookPalette(codebook: Float32Array, dimension: number): Uint8Array {
  const entries = codebook.length / dimension;
  const centred = centre(codebook, dimension);
  const covariance = covarianceOf(centred, dimension);
  const coordinates: Float64Array[] = [];
  for (let component = 0; component < 3; component++) {
    const axis = strongestAxis(covariance, dimension, component);
    const deviation = Math.sqrt(Math.max(quadratic(covariance, axis), 1e-12));
    coordinates.push(
      Float64Array.from({ length: entries }, (_, entry) => {
        let sum = 0;
        for (let at = 0; at < dimension; at++) sum += centred[entry * dimension + at] * axis[at];
        return Math.tanh(sum / (1.5 * deviation));
      }),
    );
    deflate(covariance, axis);
  }
  const palette = new Uint8Array(entries * 3);
  const [lightness, greenRed, blueYellow] = coordinates;
  for (let entry = 0; entry < entries; entry++) {
    palette.set(
      oklabToSrgb(0.64 + 0.26 * lightness[entry], 0.13 * greenRed[entry], 0.13 * blueYellow[entry]),
      3 * entry,
    );
  }
  return palette;
}

function centre(codebook: Float32Array, dimension: number): Float64Array {
  const mean = new Float64Array(dimension);
  for (let at = 0; at < codebook.length; at++) mean[at % dimension] += (codebook[at] * dimension) / codebook.length;
  return Float64Array.from(codebook, (value, at) => value - mean[at % dimension]);
}

/** [dimension][dimension] */
function covarianceOf(centred: Float64Array, dimension: number): Float64Array {
  const covariance = new Float64Array(dimension * dimension);
  const entries = centred.length / dimension;
  for (let start = 0; start < centred.length; start += dimension) {
    for (let row = 0; row < dimension; row++) {
      for (let column = 0; column < dimension; column++) {
        covariance[row * dimension + column] += (centred[start + row] * centred[start + column]) / entries;
      }
    }
  }
  return covariance;
}

/** The direction of largest variance, by power iteration from a fixed start, so that colours never change. */
function strongestAxis(covariance: Float64Array, dimension: number, component: number): Float64Array {
  let axis = Float64Array.from({ length: dimension }, (_, at) => 1 + ((at * 7 + component * 3) % 5));
  for (let iteration = 0; iteration < iterations; iteration++) {
    const next = multiply(covariance, axis);
    const norm = Math.hypot(...next);
    // Nothing is left in a codebook of fewer dimensions: any direction gives zeros.
    if (norm < 1e-12) return axis.fill(0);
    axis = next.map((value) => value / norm);
  }
  return axis;
}

function multiply(matrix: Float64Array, vector: Float64Array): Float64Array {
  const { length } = vector;
  return Float64Array.from({ length }, (_, row) =>
    vector.reduce((sum, value, column) => sum + matrix[row * length + column] * value, 0),
  );
}

function quadratic(matrix: Float64Array, vector: Float64Array): number {
  return multiply(matrix, vector).reduce((sum, value, at) => sum + value * vector[at], 0);
}

/** Takes a direction out of a covariance, so that the next strongest comes first. */
function deflate(covariance: Float64Array, axis: Float64Array): void {
  const variance = quadratic(covariance, axis);
  const { length } = axis;
  for (let at = 0; at < covariance.length; at++) {
    covariance[at] -= variance * axis[Math.floor(at / length)] * axis[at % length];
  }
}

/** From OKLab (https://bottosson.github.io/posts/oklab) to sRGB bytes. */
function oklabToSrgb(lightness: number, a: number, b: number): [number, number, number] {
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    toByte(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
    toByte(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
    toByte(-0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short),
  ];
}

function toByte(linear: number): number {
  const value = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}
