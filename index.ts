export * from './kernels/core/errors.js';
