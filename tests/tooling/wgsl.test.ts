import { expect, test } from 'vitest';
import source from './one.wgsl';

test('a shader is imported as its text', () => {
  expect(source).toContain('@compute');
});
