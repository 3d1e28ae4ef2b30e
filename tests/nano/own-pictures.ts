import { fileURLToPath } from 'node:url';

/** Folder of the shipped model. */
export const model = fileURLToPath(new URL('../../demos/nano/model', import.meta.url));

/** Prompts of the pictures on whose tokens other forms of the model are compared with f32. */
export const prompts = [
  'a red apple',
  'two blue cars',
  'a dog left of a star',
  'a green fish and a purple heart',
  'three mushrooms',
  'a rocket',
  'a yellow house above a tree',
  'four butterflies',
];
