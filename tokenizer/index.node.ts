/** Everything of `index.ts`, and what needs Node: picture files through sharp, tokenizers from a folder. */
export * from './index.js';
export { nodeImageCodec } from './image/codec.node.js';
export { loadTextTokenizer } from './text/load.node.js';
