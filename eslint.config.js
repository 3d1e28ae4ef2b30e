import eslint from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Imports go one way: each room may use the ones before it. */
const rooms = ['kernels', 'engine', 'loader', 'tokenizer', 'index', 'demos', 'bench', 'tests'];
const before = { loader: ['tokenizer'], tokenizer: ['loader'] };

const oneWay = ['kernels', 'engine', 'loader', 'tokenizer'].map((room) => {
  const forbidden = rooms.slice(rooms.indexOf(room) + 1).filter((later) => !(before[room] ?? []).includes(later));
  return {
    files: [`${room}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: `^(\\.\\./)+(${forbidden.join('|')})(/|\\.js$)`,
              message: `${room}/ may not import from a room that is built on it.`,
            },
          ],
        },
      ],
    },
  };
});

export default defineConfig(
  globalIgnores(['**/dist/', 'coverage/', 'runs/', 'tests/golden/', 'demos/nano/model/']),
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      // Numbers, truth values and shapes read in a message as one would expect.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowArray: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Callers in plain JavaScript, and indices past an end, reach checks that the types call unnecessary.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // An async function without await turns what it throws into a rejection.
      '@typescript-eslint/require-await': 'off',
      eqeqeq: 'error',
    },
  },
  {
    files: ['**/*.mjs', '**/*.cjs', '**/*.js'],
    languageOptions: {
      globals: {
        console: 'readonly',
        process: 'readonly',
        URL: 'readonly',
        performance: 'readonly',
        module: 'writable',
      },
    },
  },
  ...oneWay,
  {
    // What browsers load never names a Node module; files called *.node.ts are the place for those.
    files: ['index.ts', 'kernels/**/*.ts', 'engine/**/*.ts', 'loader/**/*.ts', 'tokenizer/**/*.ts'],
    ignores: ['**/*.node.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            { regex: '^node:|\\.node\\.js$', message: 'Only *.node.ts files and entries of Node import this.' },
          ],
        },
      ],
    },
  },
);
