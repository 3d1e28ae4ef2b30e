import protobuf from 'protobufjs';

/** A model of one operation whose result is `out`. */
export interface OnnxGraph {
  readonly operation: {
    readonly type: string;
    readonly domain?: string;
    readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
  };
  /** Shapes of the f32 inputs, in the operation's order. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** What the model holds itself, behind the inputs. */
  readonly weights: Readonly<
    Record<string, { readonly dims: readonly number[]; readonly type: 'float32' | 'uint8'; readonly bytes: Uint8Array }>
  >;
  readonly out: readonly number[];
}

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
    Attribute: message({ name: ['string', 1], i: ['int64', 3], ints: ['int64', 8, 'repeated'], type: ['int32', 20] }),
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

const dataTypes = { float32: 1, uint8: 2 } as const;
const attributeTypes = { int: 2, ints: 7 } as const;

/** The bytes of an ONNX file. */
export function onnxModel({ operation, inputs, weights, out }: OnnxGraph): Uint8Array {
  const value = (name: string, dims: readonly number[]): object => ({
    name,
    type: { tensor: { elementType: dataTypes.float32, shape: { dims: dims.map((size) => ({ value: size })) } } },
  });
  const attributes = Object.entries(operation.attributes ?? {}).map(([name, given]) =>
    typeof given === 'number'
      ? { name, i: given, type: attributeTypes.int }
      : { name, ints: given, type: attributeTypes.ints },
  );
  const node = {
    inputs: [...Object.keys(inputs), ...Object.keys(weights)],
    outputs: ['out'],
    type: operation.type,
    domain: operation.domain ?? '',
    attributes,
  };
  const graph = {
    nodes: [node],
    name: 'one operation',
    initializers: Object.entries(weights).map(([name, { dims, type, bytes }]) => ({
      name,
      dims,
      dataType: dataTypes[type],
      rawData: bytes,
    })),
    inputs: Object.entries(inputs).map(([name, dims]) => value(name, dims)),
    outputs: [value('out', out)],
  };
  const opsets = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  return protobuf.Root.fromJSON(schema).lookupType('Model').encode({ irVersion: 8, graph, opsets }).finish();
}
