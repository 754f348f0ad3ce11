// An image, the reader's or one that another model draws, and what a translator makes of it.

import { read, write } from "./address.js";
import { send } from "./call.js";
import { codeBlock } from "./code.js";
import { compareView } from "./compare.js";
import { button, field, make, save } from "./dom.js";
import { fitted } from "./image.js";
import { arrow, directions, pathOf } from "./model.js";
import { sourcesView } from "./sources.js";
import { worker } from "./work.js";

/** Make the part of the page for a model that translates. */
export function translatingView(model, limits, models) {
  let source; // {blob, name, note}: what is translated
  let result; // the blob that came of it
  const [line, code, compare] = [make("p", { className: "line" }), codeBlock(), compareView()];
  const run = worker(compare.element, line);
  const radios = directions(model).map((name) =>
    make("input", { type: "radio", name: "direction", value: name, onchange: () => translate() }),
  );
  (radios.find(({ value }) => value === read().direction) ?? radios[0]).checked = true;
  const direction = () => radios.find(({ checked }) => checked).value;
  const fileName = () => `${source.name.replace(/\.\w+$/, "")}-${direction()}.png`;

  const take = (blob, name) =>
    run("Reading the image …", async () => {
      source = { name, ...(await fitted(blob, limits)) };
      translate();
    });

  const translate = () => {
    write({ direction: direction() });
    if (!source) return;
    const call = { path: pathOf(model, `/translate?direction=${direction()}`), image: source.blob, name: source.name };
    code.show(call, fileName());
    run("Translating …", async (signal) => {
      const since = performance.now();
      result = await (await send(call, signal)).blob();
      const took = Math.round(performance.now() - since);
      await compare.show(source.blob, result);
      for (const each of afterwards) each.hidden = false;
      return `${source.note}Translated ${arrow(direction())} in ${took} ms.`;
    });
  };

  const turnBack = () => {
    const name = fileName();
    radios.find(({ checked }) => !checked).checked = true;
    take(result, name);
  };

  const download = button("Download", () => save(result, fileName()));
  const back = radios.length > 1 ? [button("Translate it back", turnBack)] : [];
  const afterwards = [download, ...back, code.block];
  for (const each of [...afterwards, compare.element]) each.hidden = true;
  const choices = radios.map((radio) => field("", radio, arrow(radio.value)));
  const choice = make("fieldset", { className: "row" }, make("legend", {}, "Direction"), ...choices);
  const row = make("div", { className: "row" }, choice, download, ...back);
  return [make("section", { ariaLabel: "Translation" }, sourcesView(models, take), row, compare.element, line, code.block)];
}
