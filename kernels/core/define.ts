// The package's main entry is CommonJS marked as a module, which Node refuses; its module build works everywhere.
import { WgslReflect, type VariableInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import { Emu3Error } from './errors.js';
import type { DType, Operand } from './types.js';

/**
 * What stands before a kernel's WGSL: lines that `override` constants cannot express. Values given here are the
 * defaults the source is reflected with; a call may replace any of them, and no name that is not declared here.
 */
export interface Prelude {
  /** Element types of bindings, e.g. `{ Scalar: 'f32' }` becomes `alias Scalar = f32;`. */
  aliases?: Readonly<Record<string, DType>>;
  /** Integer constants that size arrays, e.g. `{ HEAD_DIMENSION: 64 }` becomes `const HEAD_DIMENSION: u32 = 64u;`. */
  constants?: Readonly<Record<string, number>>;
  /** Language extensions the file needs besides f16 (which follows from the aliases), e.g. `['subgroups']`. */
  enable?: readonly string[];
}

export interface KernelBinding {
  readonly name: string;
  readonly index: number;
  readonly access: 'read' | 'read_write';
  /** Name of the element type as the source spells it: an alias of the prelude, or a WGSL scalar type. */
  readonly element: string;
}

interface ParamsMember {
  readonly name: string;
  readonly offset: number;
  readonly type: 'u32' | 'i32' | 'f32';
}

interface ParamsLayout {
  readonly index: number;
  readonly size: number;
  readonly members: readonly ParamsMember[];
}

/** One dispatch, fully described but for the buffers behind its operands. */
export interface KernelCall<T extends Operand = Operand> {
  readonly kernel: Kernel;
  /** Complete WGSL: prelude and source. */
  readonly code: string;
  readonly overrides: Readonly<Record<string, number>>;
  /** The packed uniform block, or undefined when the kernel has none. */
  readonly params: ArrayBuffer | undefined;
  readonly bindings: Readonly<Record<string, T>>;
  readonly grid: readonly [number, number, number];
  /** Bytes the dispatch must move at least (each operand once), for the roofline. */
  readonly bytes: number;
  /** Floating-point operations, a fused multiply-add counted as two. */
  readonly flops: number;
}

export interface CallOptions<T extends Operand> {
  aliases?: Readonly<Record<string, DType>>;
  constants?: Readonly<Record<string, number>>;
  overrides?: Readonly<Record<string, number>>;
  params?: Readonly<Record<string, number>>;
  bindings: Readonly<Record<string, T>>;
  grid: readonly [number, number, number];
  bytes: number;
  flops: number;
}

const wgslScalar = new Set(['f32', 'f16', 'u32', 'i32']);

function elementName(variable: VariableInfo): string {
  const match = /(?:array|atomic|vec[234])?<?.*?(\w+)\W*$/.exec(
    variable.type.getTypeName().replace(/,\s*\d+\s*>/g, '>'),
  );
  return match?.[1] ?? variable.type.name;
}

function lastWord(type: string): string {
  return /(\w+)\W*$/.exec(type)?.[1] ?? type;
}

/** A hand-written WGSL file with the names it declares, taken from the source by reflection. */
export class Kernel {
  readonly name: string;
  readonly bindings: readonly KernelBinding[];
  private readonly source: string;
  private readonly prelude: Prelude;
  private readonly params: ParamsLayout | undefined;
  private readonly overrideNames: ReadonlySet<string>;

  constructor(name: string, source: string, prelude: Prelude = {}) {
    this.name = name;
    this.source = source;
    this.prelude = prelude;
    const reflected = new WgslReflect(this.code({}, {}));
    if (reflected.entry.compute.length !== 1 || reflected.entry.compute[0]?.name !== 'main') {
      throw this.error('a kernel file has exactly one @compute entry point named main');
    }
    // The alias names are wanted, not what they stand for, so element types are read from the declaration itself.
    this.bindings = reflected.storage.map((variable) => {
      const declared = new RegExp(`var<storage[^>]*>\\s+${variable.name}\\s*:\\s*([^;]+);`).exec(source)?.[1];
      const name = declared === undefined ? elementName(variable) : lastWord(declared);
      // The source may name a vector of an alias of the prelude.
      const aliased = new RegExp(`alias\\s+${name}\\s*=\\s*([^;]+);`).exec(source)?.[1];
      const element = aliased === undefined ? name : lastWord(aliased);
      return {
        name: variable.name,
        index: variable.binding,
        access: variable.access === 'read_write' ? 'read_write' : 'read',
        element,
      };
    });
    this.overrideNames = new Set(reflected.overrides.map((override) => override.name));
    this.params = this.paramsLayout(reflected);
  }

  private paramsLayout(reflected: WgslReflect): ParamsLayout | undefined {
    const uniform = reflected.uniforms[0];
    if (uniform === undefined) return undefined;
    if (reflected.uniforms.length > 1 || uniform.name !== 'params') {
      throw this.error('a kernel has at most one uniform, named params');
    }
    const members = (uniform.members ?? []).map((member) => {
      const type = member.type.name;
      if (type !== 'u32' && type !== 'i32' && type !== 'f32') {
        throw this.error(`params.${member.name} is ${type}, but only u32, i32 and f32 are supported`);
      }
      return { name: member.name, offset: member.offset, type } as const;
    });
    return { index: uniform.binding, size: Math.ceil(uniform.size / 16) * 16, members };
  }

  private error(message: string): Emu3Error {
    return new Emu3Error(`Kernel ${this.name}: ${message}.`, {
      code: 'argument',
      where: `kernel ${this.name}`,
      fix: 'Make the call and the WGSL file agree.',
    });
  }

  /** Binding index of the uniform block, or undefined. */
  get paramsBinding(): number | undefined {
    return this.params?.index;
  }

  private code(aliases: Readonly<Record<string, DType>>, constants: Readonly<Record<string, number>>): string {
    const allAliases = { ...this.prelude.aliases, ...aliases };
    const allConstants = { ...this.prelude.constants, ...constants };
    const lines: string[] = [];
    if (Object.values(allAliases).includes('f16')) lines.push('enable f16;');
    for (const extension of this.prelude.enable ?? []) lines.push(`enable ${extension};`);
    for (const [alias, type] of Object.entries(allAliases)) lines.push(`alias ${alias} = ${type};`);
    for (const [constant, value] of Object.entries(allConstants)) lines.push(`const ${constant}: u32 = ${value}u;`);
    return `${lines.join('\n')}\n${this.source}`;
  }

  private refuseUnknown(what: string, given: Iterable<string>, known: ReadonlySet<string>): void {
    for (const name of given) {
      if (!known.has(name)) throw this.error(`unknown ${what} "${name}" (it has: ${[...known].join(', ') || 'none'})`);
    }
  }

  private packParams(values: Readonly<Record<string, number>>): ArrayBuffer | undefined {
    const layout = this.params;
    this.refuseUnknown('param', Object.keys(values), new Set(layout?.members.map((member) => member.name)));
    if (layout === undefined) return undefined;
    const block = new ArrayBuffer(layout.size);
    const view = new DataView(block);
    for (const { name, offset, type } of layout.members) {
      const value = values[name];
      if (value === undefined) throw this.error(`param "${name}" is missing`);
      if (type === 'f32') {
        view.setFloat32(offset, value, true);
        continue;
      }
      const inRange = type === 'u32' ? value >= 0 && value <= 0xffffffff : value >= -0x80000000 && value <= 0x7fffffff;
      if (!Number.isInteger(value) || !inRange) throw this.error(`param "${name}" = ${value} is not a ${type}`);
      if (type === 'u32') view.setUint32(offset, value, true);
      else view.setInt32(offset, value, true);
    }
    return block;
  }

  /**
   * Describes one dispatch. Every binding, param, override, alias and constant is checked by name against the WGSL
   * file, and operand dtypes against the binding's element type.
   *
   * @throws Emu3Error `argument` for a missing or unknown name, `dtype` for an operand of the wrong element type.
   */
  call<T extends Operand>(options: CallOptions<T>): KernelCall<T> {
    const aliases = options.aliases ?? {};
    const constants = options.constants ?? {};
    const overrides = options.overrides ?? {};
    this.refuseUnknown('alias', Object.keys(aliases), new Set(Object.keys(this.prelude.aliases ?? {})));
    this.refuseUnknown('constant', Object.keys(constants), new Set(Object.keys(this.prelude.constants ?? {})));
    this.refuseUnknown('override', Object.keys(overrides), this.overrideNames);
    this.refuseUnknown('binding', Object.keys(options.bindings), new Set(this.bindings.map((binding) => binding.name)));
    for (const binding of this.bindings) {
      const operand = options.bindings[binding.name];
      if (operand === undefined) throw this.error(`binding "${binding.name}" is missing`);
      const expected = aliases[binding.element] ?? this.prelude.aliases?.[binding.element] ?? binding.element;
      if (wgslScalar.has(expected) && operand.dtype !== expected) {
        throw new Emu3Error(
          `Kernel ${this.name}: binding "${binding.name}" takes ${expected}, but the tensor is ${operand.dtype}.`,
          { code: 'dtype', where: `kernel ${this.name}`, fix: 'Cast the tensor or call with the matching alias.' },
        );
      }
    }
    if (options.grid.some((size) => !Number.isInteger(size) || size < 1 || size > 65535)) {
      throw this.error(`grid ${options.grid.join(' x ')} is outside 1..65535`);
    }
    return {
      kernel: this,
      code: this.code(aliases, constants),
      overrides,
      params: this.packParams(options.params ?? {}),
      bindings: options.bindings,
      grid: options.grid,
      bytes: options.bytes,
      flops: options.flops,
    };
  }
}

/** Declares a kernel from its WGSL text; see {@link Kernel}. */
export function defineKernel(name: string, source: string, prelude: Prelude = {}): Kernel {
  return new Kernel(name, source, prelude);
}

/** The reason a kernel call refuses its operands: a shape that does not fit, named. */
export function shapeError(kernel: string, message: string): Emu3Error {
  return new Emu3Error(`Kernel ${kernel}: ${message}.`, {
    code: 'shape',
    where: `kernel ${kernel}`,
    fix: 'Give tensors whose shapes fit the formula in its documentation.',
  });
}
