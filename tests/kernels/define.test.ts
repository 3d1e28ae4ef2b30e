import { describe, expect, it } from 'vitest';
import { defineKernel, type CallOptions } from '../../kernels/core/define.js';
import type { DType, Operand } from '../../kernels/core/types.js';

const source = `
struct Params { count: u32, shift: i32, factor: f32 }
@group(0) @binding(0) var<storage, read> x: array<Scalar>;
@group(0) @binding(1) var<storage, read> ids: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32, WIDTH>;
@group(0) @binding(3) var<uniform> params: Params;
override LANES: u32 = 64;
@compute @workgroup_size(LANES) fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = f32(x[ids[0].x]) * params.factor + f32(params.shift); }
}`;

const kernel = defineKernel('scale', source, { aliases: { Scalar: 'f32' }, constants: { WIDTH: 8 } });
const operand = (dtype: DType): Operand => ({ shape: [8], dtype });
const good: CallOptions<Operand> = {
  params: { count: 8, shift: -1, factor: 0.5 },
  bindings: { x: operand('f32'), ids: operand('u32'), y: operand('f32') },
  grid: [1, 1, 1],
  bytes: 96,
  flops: 16,
};

describe('a kernel', () => {
  it('knows the bindings of its source', () => {
    expect(kernel.bindings).toEqual([
      { name: 'x', index: 0, access: 'read', element: 'Scalar' },
      { name: 'ids', index: 1, access: 'read', element: 'u32' },
      { name: 'y', index: 2, access: 'read_write', element: expect.stringMatching(/f32|WIDTH/) as unknown },
    ]);
    expect(kernel.paramsBinding).toBe(3);
  });

  it('packs parameters by the layout of the struct, and writes the prelude', () => {
    const call = kernel.call({
      ...good,
      aliases: { Scalar: 'f16' },
      constants: { WIDTH: 16 },
      overrides: { LANES: 32 },
      bindings: { ...good.bindings, x: operand('f16') },
    });
    const view = new DataView(call.params ?? new ArrayBuffer(0));
    expect(view.byteLength).toBe(16);
    expect([view.getUint32(0, true), view.getInt32(4, true), view.getFloat32(8, true)]).toEqual([8, -1, 0.5]);
    const prelude = ['enable f16;', 'alias Scalar = f16;', 'const WIDTH: u32 = 16u;'];
    expect(call.code.split('\n').slice(0, 3)).toEqual(prelude);
    expect(call.overrides).toEqual({ LANES: 32 });
  });
});

const refused: [string, Partial<CallOptions<Operand>>, string, RegExp][] = [
  ['an unknown binding', { bindings: { ...good.bindings, z: operand('f32') } }, 'argument', /binding "z".*x, ids, y/],
  ['a missing binding', { bindings: { x: operand('f32'), y: operand('f32') } }, 'argument', /binding "ids" is missing/],
  ['an unknown param', { params: { ...good.params, scale: 1 } }, 'argument', /param "scale".*count, shift, factor/],
  ['a missing param', { params: { count: 8, shift: 0 } }, 'argument', /param "factor" is missing/],
  ['a negative u32', { params: { ...good.params, count: -1 } }, 'argument', /"count" = -1 is not a u32/],
  ['a fraction for a u32', { params: { ...good.params, count: 1.5 } }, 'argument', /"count" = 1.5 is not a u32/],
  ['a u32 above its range', { params: { ...good.params, count: 2 ** 32 } }, 'argument', /is not a u32/],
  ['NaN for an i32', { params: { ...good.params, shift: NaN } }, 'argument', /"shift" = NaN is not a i32/],
  ['an i32 above its range', { params: { ...good.params, shift: 2 ** 31 } }, 'argument', /is not a i32/],
  ['an unknown override', { overrides: { ROWS: 4 } }, 'argument', /override "ROWS".*LANES/],
  ['an unknown alias', { aliases: { Element: 'f16' } }, 'argument', /alias "Element".*Scalar/],
  ['an unknown constant', { constants: { HEIGHT: 2 } }, 'argument', /constant "HEIGHT".*WIDTH/],
  [
    'an operand of another type than the alias',
    { bindings: { ...good.bindings, x: operand('f16') } },
    'dtype',
    /"x" takes f32/,
  ],
  [
    'an operand of another type than the vector',
    { bindings: { ...good.bindings, ids: operand('i32') } },
    'dtype',
    /"ids" takes u32/,
  ],
  ['an empty grid', { grid: [0, 1, 1] }, 'argument', /grid 0 x 1 x 1/],
  ['a grid above the limit', { grid: [1, 65536, 1] }, 'argument', /grid 1 x 65536 x 1/],
  ['a grid that is no number', { grid: [1, 1, NaN] }, 'argument', /grid 1 x 1 x NaN/],
];

describe('a call', () => {
  it.each(refused)('refuses %s by name', (_, change, code, message) => {
    expect(() => kernel.call({ ...good, ...change })).toThrow(
      expect.objectContaining({ code, where: 'kernel scale', message: expect.stringMatching(message) as unknown }),
    );
  });
});

describe('a source', () => {
  it.each([
    ['has no entry point called main', '@compute @workgroup_size(1) fn start() {}', /entry point named main/],
    [
      'has two uniforms',
      `struct A { a: u32 }
       @group(0) @binding(0) var<uniform> params: A;
       @group(0) @binding(1) var<uniform> more: A;
       @compute @workgroup_size(1) fn main() { _ = params.a + more.a; }`,
      /at most one uniform/,
    ],
    [
      'has a vector among the params',
      `struct A { size: vec2<u32> }
       @group(0) @binding(0) var<uniform> params: A;
       @compute @workgroup_size(1) fn main() { _ = params.size; }`,
      /params\.size/,
    ],
  ])('is refused when it %s', (_, text, message) => {
    expect(() => defineKernel('odd', text)).toThrow(
      expect.objectContaining({
        code: 'argument',
        where: 'kernel odd',
        message: expect.stringMatching(message) as unknown,
      }),
    );
  });
});
