import type { Device } from '../../engine/device.js';
import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import { decode, encode, type VisionContext } from '../../engine/models/vision/index.js';
import { lookUpCodes, quantize } from '../../engine/ops/vector-quantizer.js';
import { GpuTensor } from '../../engine/tensor.js';
import type { Workload } from '../run-workloads.js';
import type { NanoModel } from './nano.js';

const size = 64;
const grid = size / 8;

function contextOf(device: Device, { visionWeights }: NanoModel): VisionContext {
  const graph = new Graph(device.traits);
  return { graph, ...visionWeights.bind(graph), batchStatistics: false };
}

/** A recorded program from one tensor the host writes to one it reads. */
export interface Converter {
  readonly program: Program;
  convert(data: Float32Array | Uint32Array): Promise<ArrayBuffer>;
  destroy(): void;
}

async function converter(
  device: Device,
  label: string,
  graph: Graph,
  input: GpuTensor,
  output: Tensor,
): Promise<Converter> {
  const program = await Program.compile(device, graph, { label, outputs: [output] });
  const result = program.output(output);
  return {
    program,
    convert: async (data) => {
      input.write(data);
      program.run();
      return device.read(result.buffer, result.offset, result.byteLength);
    },
    destroy: () => {
      program.destroy();
      input.destroy();
    },
  };
}

/** Pixels [batch, 64, 64, 3] to codes [batch, 8, 8]. */
async function pictureEncoder(device: Device, model: NanoModel, batch: number): Promise<Converter> {
  const context = contextOf(device, model);
  const { graph } = context;
  const pixels = GpuTensor.create(device, [batch, 1, size, size, 3], 'f32', 'pixels');
  const { latent } = encode(context, model.visionConfig, graph.bind(pixels));
  const { codes } = quantize(graph, latent, context.parameter('quantize.embedding.weight'));
  return converter(device, `vision encoder of ${batch}`, graph, pixels, codes);
}

/** Codes [batch, 8, 8] to pixels [batch, 64, 64, 3]. */
export async function pictureDecoder(device: Device, model: NanoModel, batch: number): Promise<Converter> {
  const context = contextOf(device, model);
  const { graph } = context;
  const codes = GpuTensor.create(device, [batch * grid * grid], 'u32', 'codes');
  const codebook = context.parameter('quantize.embedding.weight');
  const shape = [batch, 1, grid, grid, model.visionConfig.embed_dim];
  const pixels = decode(context, model.visionConfig, lookUpCodes(graph, graph.bind(codes), codebook, shape), true);
  return converter(device, `vision decoder of ${batch}`, graph, codes, pixels);
}

/** Pictures from the host to codes on the host. */
export async function visionEncoding(device: Device, model: NanoModel, batch: number): Promise<Workload> {
  const data = Float32Array.from({ length: batch * size * size * 3 }, (_, index) => Math.sin(index * 0.37));
  return workload('encode', batch, data, await pictureEncoder(device, model, batch));
}

/** Codes from the host to pixels on the host. */
export async function visionDecoding(device: Device, model: NanoModel, batch: number): Promise<Workload> {
  const { codebook_size } = model.visionConfig;
  const data = Uint32Array.from({ length: batch * grid * grid }, (_, index) => (index * 7919) % codebook_size);
  return workload('decode', batch, data, await pictureDecoder(device, model, batch));
}

function workload(name: string, batch: number, data: Float32Array | Uint32Array, pictures: Converter): Workload {
  return {
    section: 'vision',
    name: `${name} ${batch} ${batch === 1 ? 'picture' : 'pictures'} of ${size} x ${size}`,
    products: [{ unit: 'pictures', count: batch }],
    programs: [{ program: pictures.program, runs: 1 }],
    run: async () => {
      await pictures.convert(data);
    },
    destroy: async () => pictures.destroy(),
  };
}
