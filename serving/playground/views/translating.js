// The view of a translation model: the source image and its translation.

import { read, write } from "../parts/address.js";
import { send } from "../parts/call.js";
import { codeBlock } from "../parts/code.js";
import { compareView } from "./compare.js";
import { button, field, make, save } from "../parts/dom.js";
import { fitted } from "../parts/image.js";
import { arrow, callOf, directions, scaleOf } from "../parts/model.js";
import { sourcesView } from "./sources.js";
import { worker } from "../parts/work.js";

/** Create the section of the page for a translation model. */
export function translatingView(model, limits, models) {
  let source; // {blob, name, note}: the image to translate
  let result; // {blob, name}: the translated image
  const [line, code, compare] = [make("p", { className: "line" }), codeBlock(), compareView()];
  const run = worker(compare.element, line);
  const radios = directions(model).map((name) =>
    make("input", { type: "radio", name: "direction", value: name, onchange: () => translate() }),
  );
  (radios.find(({ value }) => value === read().direction) ?? radios[0]).checked = true;
  const direction = () => radios.find(({ checked }) => checked).value;

  /** Load the image with `fetch`, which returns a promise of a blob, and translate it. */
  const take = (fetch, name) =>
    run("Reading the image...", async (signal) => {
      conclude(false);
      const grid = model.graphs[direction()].inputs.image;
      const fit = await fitted(await fetch(signal), limits, grid, scaleOf(model, direction()));
      if (signal.aborted) return;
      source = { ...fit, name };
      translate();
    });

  const translate = () => {
    write({ direction: direction() });
    if (!source) return;
    const { blob, name, note } = source;
    const out = `${name.replace(/\.\w+$/, "")}-${direction()}.png`;
    const call = { ...callOf(model, `/translate?direction=${direction()}`), image: blob, name };
    conclude(false);
    run("Translating...", async (signal) => {
      const since = performance.now();
      const translated = await (await send(call, signal)).blob();
      const took = Math.round(performance.now() - since);
      await compare.show(blob, translated);
      if (signal.aborted) return;
      result = { blob: translated, name: out };
      code.show(call, out);
      conclude(true);
      const done = scaleOf(model, direction()) > 1 ? "Enlarged" : `Translated ${arrow(direction())}`;
      return `${note}${done} in ${took} ms.`;
    });
  };

  const turnBack = () => {
    radios.find(({ checked }) => !checked).checked = true;
    take(async () => result.blob, result.name);
  };

  const afterwards = [
    button("Download", () => save(result.blob, result.name)),
    button("Download original", () => save(source.blob, source.name)),
    ...(radios.length > 1 ? [button("Translate back", turnBack)] : []),
  ];
  const conclude = (done) => {
    for (const each of [...afterwards, compare.element, code.block]) each.hidden = !done;
  };
  conclude(false);
  const choices = radios.map((radio) => field("", radio, arrow(radio.value)));
  const choice = make("fieldset", { className: "row" }, make("legend", {}, "Direction"), ...choices);
  const row = make("div", { className: "row" }, choice, ...afterwards);
  const sources = sourcesView(models, take);
  return [make("section", { ariaLabel: "Translation" }, sources, row, compare.element, line, code.block)];
}
