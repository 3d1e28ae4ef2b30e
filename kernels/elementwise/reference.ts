/** a[i] + b[i]; operands of equal length. */
export function addReference(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: a.length }, (_, index) => (a[index] ?? 0) + (b[index] ?? 0));
}

/** a[i] * b[i]; operands of equal length. */
export function multiplyReference(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: a.length }, (_, index) => (a[index] ?? 0) * (b[index] ?? 0));
}

/** factor * x[i]. */
export function scaleReference(x: ArrayLike<number>, factor: number): Float64Array {
  return Float64Array.from({ length: x.length }, (_, index) => factor * (x[index] ?? 0));
}

/** x[r,c] + bias[c], x row-major with as many columns as bias has elements. */
export function addBiasReference(x: ArrayLike<number>, bias: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: x.length }, (_, index) => (x[index] ?? 0) + (bias[index % bias.length] ?? 0));
}

/** x[i] / (1 + exp(-x[i])). */
export function siluReference(x: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: x.length }, (_, index) => (x[index] ?? 0) / (1 + Math.exp(-(x[index] ?? 0))));
}

/** gradient[i] * s * (1 + x[i] (1 - s)), s = 1 / (1 + exp(-x[i])). */
export function siluBackwardReference(x: ArrayLike<number>, gradient: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: x.length }, (_, index) => {
    const value = x[index] ?? 0;
    const sigmoid = 1 / (1 + Math.exp(-value));
    return (gradient[index] ?? 0) * sigmoid * (1 + value * (1 - sigmoid));
  });
}
