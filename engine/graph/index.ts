export { Graph, type GraphNode, type NodeSpec, type OutputGradients, type Storage, type Tensor } from './graph.js';
export { gradients, checkpoint } from './gradients.js';
export { planMemory, type MemoryPlan } from './plan.js';
export { Program, type ProgramOptions, type RunEvents } from './program.js';
export type { KernelTime } from './profile.js';
