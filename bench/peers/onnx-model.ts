import protobuf from 'protobufjs';

/** A model: operations in the order of their dependence, from inputs to outputs by names. */
export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: Readonly<Record<string, OnnxValue>>;
  /** What the model holds itself. */
  readonly weights: Readonly<Record<string, OnnxValue & { readonly bytes: Uint8Array }>>;
  readonly outputs: Readonly<Record<string, OnnxValue>>;
}

export interface OnnxNode {
  readonly type: string;
  readonly domain?: string;
  /** Whole numbers, lists of them, and others. */
  readonly attributes?: Readonly<Record<string, number | readonly number[] | { readonly float: number }>>;
  /** Empty names stand for inputs and outputs that are left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export interface OnnxValue {
  readonly dims: readonly number[];
  readonly type: OnnxType;
}

export type OnnxType = keyof typeof dataTypes;

/** The part of onnx.proto that such a model takes: field numbers and types. */
const schema = {
  nested: {
    Model: message({ irVersion: ['int64', 1], graph: ['Graph', 7], opsets: ['Opset', 8, 'repeated'] }),
    Opset: message({ domain: ['string', 1], version: ['int64', 2] }),
    Graph: message({
      nodes: ['Node', 1, 'repeated'],
      name: ['string', 2],
      initializers: ['Tensor', 5, 'repeated'],
      inputs: ['Value', 11, 'repeated'],
      outputs: ['Value', 12, 'repeated'],
    }),
    Node: message({
      inputs: ['string', 1, 'repeated'],
      outputs: ['string', 2, 'repeated'],
      type: ['string', 4],
      attributes: ['Attribute', 5, 'repeated'],
      domain: ['string', 7],
    }),
    Attribute: message({
      name: ['string', 1],
      f: ['float', 2],
      i: ['int64', 3],
      ints: ['int64', 8, 'repeated'],
      type: ['int32', 20],
    }),
    Tensor: message({
      dims: ['int64', 1, 'repeated'],
      dataType: ['int32', 2],
      name: ['string', 8],
      rawData: ['bytes', 9],
    }),
    Value: message({ name: ['string', 1], type: ['ValueType', 2] }),
    ValueType: message({ tensor: ['TensorType', 1] }),
    TensorType: message({ elementType: ['int32', 1], shape: ['Shape', 2] }),
    Shape: message({ dims: ['Dim', 1, 'repeated'] }),
    Dim: message({ value: ['int64', 1] }),
  },
};

function message(fields: Readonly<Record<string, readonly [type: string, id: number, rule?: string]>>): object {
  const entries = Object.entries(fields).map(([name, [type, id, rule]]) => [name, { type, id, ...(rule && { rule }) }]);
  return { fields: Object.fromEntries(entries) as object };
}

const dataTypes = { float32: 1, uint8: 2, int32: 6, int64: 7 } as const;
const attributeTypes = { float: 1, int: 2, ints: 7 } as const;

/** The bytes of an ONNX file. */
export function onnxModel({ nodes, inputs, weights, outputs }: OnnxGraph): Uint8Array {
  const values = (named: Readonly<Record<string, OnnxValue>>): object[] =>
    Object.entries(named).map(([name, { dims, type }]) => ({
      name,
      type: { tensor: { elementType: dataTypes[type], shape: { dims: dims.map((size) => ({ value: size })) } } },
    }));
  const graph = {
    nodes: nodes.map(({ domain = '', attributes = {}, ...node }) => ({
      ...node,
      domain,
      attributes: Object.entries(attributes).map(([name, given]) => ({ name, ...attribute(given) })),
    })),
    name: 'a problem',
    initializers: Object.entries(weights).map(([name, { dims, type, bytes }]) => ({
      name,
      dims,
      dataType: dataTypes[type],
      rawData: bytes,
    })),
    inputs: values(inputs),
    outputs: values(outputs),
  };
  const opsets = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  return protobuf.Root.fromJSON(schema).lookupType('Model').encode({ irVersion: 8, graph, opsets }).finish();
}

function attribute(given: number | readonly number[] | { readonly float: number }): object {
  if (typeof given === 'number') return { i: given, type: attributeTypes.int };
  return 'float' in given ? { f: given.float, type: attributeTypes.float } : { ints: given, type: attributeTypes.ints };
}
