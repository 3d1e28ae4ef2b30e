/** The module build of wgsl_reflect has the package's types, which its package.json does not say. */
declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export * from 'wgsl_reflect';
}
