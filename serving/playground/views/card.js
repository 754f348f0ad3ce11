// The model card: scores, training data, hyperparameters and files.

import { send } from "../parts/call.js";
import { make } from "../parts/dom.js";
import { callOf } from "../parts/model.js";
import { told } from "../parts/work.js";

const LOWER = ["frechet", "kernel", "l1", "feature_distance", "cycle", "memorised", "total_variation", "wasserstein2"];

/** Create the model card. Details from the manifest are loaded and added later. */
export function card(model) {
  const manifest = make("div", {});
  const load = async () => {
    try {
      manifest.replaceChildren(...details(await (await send(callOf(model, ""))).json()));
    } catch (problem) {
      manifest.replaceChildren(make("p", {}, told(problem, load)));
    }
  };
  load();
  return make("section", { className: "card", ariaLabel: "Model card" }, make("h3", {}, "Model card"), ...model.metrics.map(scores), manifest);
}

/** Create the table of one evaluation, with the scores of the model and of the controls. */
function scores(evaluation) {
  const controls = Object.entries(evaluation.controls);
  const by = evaluation.features ? `, using ${evaluation.features.name} features` : "";
  const caption = `${evaluation.samples} samples compared with ${evaluation.data}${by}`;
  const head = ["metric", "this model", ...controls.map(([name]) => name)];
  const rows = Object.entries(evaluation.scores).map(([name, value]) => [
    `${name} ${isLower(name) ? "↓" : "↑"}`,
    ...[value, ...controls.map(([, each]) => each[name])].map(number),
  ]);
  return make(
    "div",
    { className: "wide" },
    make(
      "table",
      {},
      make("caption", {}, `${caption}; ↓ lower is better, ↑ higher is better`),
      make("thead", {}, make("tr", {}, ...head.map((words) => make("th", { scope: "col" }, words)))),
      make("tbody", {}, ...rows.map(([name, ...rest]) => make("tr", {}, make("th", { scope: "row" }, name), ...rest.map((each) => make("td", {}, each))))),
    ),
  );
}

const isLower = (score) => LOWER.includes(score.replace(/^(a2b|b2a)_/, ""));
const number = (value) => (value === undefined || value === null ? "" : String(Number(value.toPrecision(4))));

/** Create the list of the manifest's fields and the list of the graph files. */
function details(manifest) {
  const { training } = manifest;
  const origin = "data" in training
    ? { data: training.data, steps: training.steps, seed: training.seed }
    : { weights: training.layout };
  const facts = { entry: manifest.entry, ...origin, licence: manifest.licence, credit: manifest.credit, ...manifest.hyperparameters };
  const terms = Object.entries(facts)
    .filter(([, value]) => value !== null && value.length !== 0)
    .map(([name, value]) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, said(value))));
  const files = Object.values(manifest.graphs).flatMap(({ variants }) => variants.map(fileOf));
  return [make("dl", {}, ...terms), make("h4", {}, "Files"), make("ul", { className: "files" }, ...files)];
}

const said = (value) => (Array.isArray(value) ? value.join(", ") : String(value));

function fileOf({ file, sha256, parity, loss }) {
  const proof = parity
    ? `max. absolute error ${parity.max_abs_error.toExponential(1)} against PyTorch`
    : `PSNR ${loss.psnr.toFixed(1)} dB against the float32 graph`;
  return make("li", {}, make("code", {}, file), ` ${proof} `, make("code", { className: "hash" }, sha256.slice(0, 12)));
}
