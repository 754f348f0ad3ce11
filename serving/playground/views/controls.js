// The controls of a sheet: seed, class and truncation.

import { read } from "../parts/address.js";
import { button, field, make } from "../parts/dom.js";
import { anySeed, hasClasses } from "../parts/model.js";

const LAST_SEED = 2 ** 53 - 1;
const EACH_IN_TURN = "";

/** Create the controls of a sampling model. `changed` is called when a value changes. */
export function controlsOf(model, changed) {
  const said = read();
  const seed = seedOf(said, changed);
  const another = () => {
    seed.value = anySeed();
    changed();
  };
  const label = classOf(model, said, changed);
  const truncation = make("input", { type: "range", min: 0.05, max: 1, step: 0.05, onchange: changed });
  const shown = make("output", {});
  truncation.oninput = () => (shown.textContent = Number(truncation.value).toFixed(2));
  truncation.value = said.truncation ?? 1;
  truncation.oninput();

  return {
    elements: [
      field("Seed", seed),
      button("Random seed", another, { className: "main" }),
      ...(hasClasses(model) ? [field("Class", label)] : []),
      field("Truncation", truncation, shown),
    ],
    valid: () => seed.reportValidity(),
    seed: () => Number(seed.value),
    /** Return the fields of the request, except the seed. */
    fixed: () => ({
      ...(label.value === EACH_IN_TURN ? {} : { label: label.value }),
      ...(truncation.value === "1" ? {} : { truncation: Number(truncation.value) }),
    }),
  };
}

function seedOf(said, changed) {
  const attributes = { type: "number", min: 0, max: LAST_SEED, step: 1, required: true };
  const value = /^\d+$/.test(said.seed) ? said.seed : 0;
  return make("input", { ...attributes, value, onchange: changed });
}

function classOf(model, said, changed) {
  const each = make("option", { value: EACH_IN_TURN }, "all classes in turn");
  // Without a value of its own, an option has its text's, in which spaces are collapsed.
  const labels = model.labels.map((name) => make("option", { value: name }, name));
  const select = make("select", { onchange: changed }, each, ...labels);
  if (model.labels.includes(said.label)) select.value = said.label;
  return select;
}
