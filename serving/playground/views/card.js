// A model's card: what it is, how good, and where it comes from.

import { send } from "../parts/call.js";
import { make } from "../parts/dom.js";
import { callOf } from "../parts/model.js";
import { told } from "../parts/work.js";

const LOWER = ["frechet", "kernel", "l1", "cycle", "total_variation", "wasserstein2"];

/** Make a model's card; what its manifest alone says comes a moment later. */
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
  return make("section", { className: "card", ariaLabel: "Card" }, make("h3", {}, "Card"), ...model.metrics.map(scores), manifest);
}

/** The scores of one measurement, beside those of its controls. */
function scores(evaluation) {
  const controls = Object.entries(evaluation.controls);
  const by = evaluation.features ? `, by the features of ${evaluation.features.name}` : "";
  const caption = `${evaluation.samples} held against ${evaluation.data}${by}`;
  const head = ["score", "this model", ...controls.map(([name]) => name)];
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
      make("caption", {}, `${caption}; ↓ lower is better, ↑ higher`),
      make("thead", {}, make("tr", {}, ...head.map((words) => make("th", { scope: "col" }, words)))),
      make("tbody", {}, ...rows.map(([name, ...rest]) => make("tr", {}, make("th", { scope: "row" }, name), ...rest.map((each) => make("td", {}, each))))),
    ),
  );
}

const isLower = (score) => LOWER.includes(score.replace(/^(a2b|b2a)_/, ""));
const number = (value) => (value === undefined || value === null ? "" : String(Number(value.toPrecision(4))));

/** What the manifest says, as a list of terms, and the graphs' files. */
function details(manifest) {
  const { training } = manifest;
  const origin = "data" in training
    ? { data: training.data, steps: training.steps, seed: training.seed }
    : { weights: training.layout };
  const facts = { entry: manifest.entry, ...origin, licence: manifest.licence, ...manifest.hyperparameters };
  const terms = Object.entries(facts)
    .filter(([, value]) => value !== null && value.length !== 0)
    .map(([name, value]) => make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, said(value))));
  const files = Object.values(manifest.graphs).flatMap(({ variants }) => variants.map(fileOf));
  return [make("dl", {}, ...terms), make("h4", {}, "Files"), make("ul", { className: "files" }, ...files)];
}

const said = (value) => (Array.isArray(value) ? value.join(", ") : String(value));

function fileOf({ file, sha256, parity, loss }) {
  const proof = parity
    ? `at most ${parity.max_abs_error.toExponential(1)} from PyTorch`
    : `${loss.psnr.toFixed(1)} dB to the float graph`;
  return make("li", {}, make("code", {}, file), ` ${proof} `, make("code", { className: "hash" }, sha256.slice(0, 12)));
}
