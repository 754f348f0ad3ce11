// Run graphs with ONNX Runtime Web in Node.js and print its version: node run.cjs GRAPH.onnx...
// The files beside a graph are those of run.py.

const fs = require("node:fs");
const ort = require("onnxruntime-web");

const KINDS = { float32: Float32Array, uint8: Uint8Array, int64: BigInt64Array };

function load({ type, shape, data }) {
  return new ort.Tensor(type, KINDS[type].from(type === "int64" ? data.map(BigInt) : data), shape);
}

async function outputs(path) {
  const cases = JSON.parse(fs.readFileSync(path.replace(/onnx$/, "inputs.json")));
  const session = await ort.InferenceSession.create(fs.readFileSync(path), { executionProviders: ["wasm"] });
  const found = [];
  for (const inputs of cases) {
    const loaded = Object.entries(inputs).map(([name, array]) => [name, load(array)]);
    const { output } = await session.run(Object.fromEntries(loaded));
    found.push({ type: output.type, shape: output.dims, data: Array.from(output.data) });
  }
  return found;
}

async function main() {
  ort.env.wasm.numThreads = 1;
  for (const path of process.argv.slice(2)) {
    const found = await outputs(path).catch(String);
    fs.writeFileSync(path.replace(/onnx$/, "outputs.json"), JSON.stringify(found));
  }
  console.log(ort.env.versions.web);
}

main();
