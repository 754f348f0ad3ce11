// The view of a sampling model: the sheet, the pins and the interpolation.

import { write } from "../parts/address.js";
import { send } from "../parts/call.js";
import { codeBlock } from "../parts/code.js";
import { controlsOf } from "./controls.js";
import { button, display, make, save } from "../parts/dom.js";
import { callOf, drawsVectors, isTiny } from "../parts/model.js";
import { pinsView } from "./pins.js";
import { walkView } from "./walk.js";
import { worker } from "../parts/work.js";

const SHEET = 24;

/** Create the sections of the page for a sampling model. */
export function samplingView(model, limits) {
  const vectors = drawsVectors(model);
  const count = Math.min(vectors ? Infinity : SHEET, limits.images);
  const [line, sheet, code] = [make("p", { className: "line" }), make("ul", { className: "sheet" }), codeBlock()];
  sheet.classList.toggle("tiny", isTiny(model));
  const run = worker(sheet, line);
  const controls = controlsOf(model, () => draw());
  const pins = pinsView(model, controls.fixed, () => follow());
  const walk = walkView(model, limits, controls.fixed);

  const callFor = (format) => ({
    ...callOf(model, "/sample"),
    json: { n: count, seed: controls.seed(), ...controls.fixed(), format },
  });
  const fileName = () => `${model.name}-${controls.seed()}.png`;

  const draw = () => {
    if (!controls.valid()) return;
    const seed = controls.seed();
    write({ seed, label: "", truncation: "", ...controls.fixed() });
    code.show(callFor("png"), fileName());
    run("Generating samples...", async (signal) => {
      const since = performance.now();
      const answer = await send(callFor(vectors ? "png" : "json"), signal);
      sheet.replaceChildren(...(vectors ? [await plotOf(answer)] : await picturesOf(answer)));
      pins.mark(sheet);
      const took = Math.round(performance.now() - since);
      return `Generated ${count} ${vectors ? "points" : "samples"} (seeds ${seed} to ${seed + count - 1}) in ${took} ms.`;
    });
    if (!vectors) follow();
  };

  /** Update the pins and the interpolation. With fewer than two pins, use the first two seeds of the sheet. */
  const follow = () => {
    pins.refresh(sheet);
    walk.refresh(pins.seeds().length > 1 ? pins.seeds() : [controls.seed(), controls.seed() + 1]);
  };

  const picturesOf = async (answer) => {
    const { seeds, images } = await answer.json();
    return images.map((image, index) => make("li", {}, pins.pinnable(seeds[index], `data:image/png;base64,${image}`)));
  };

  const plotOf = async (answer) => {
    const image = make("img", { alt: `${count} points` });
    await display(image, await answer.blob());
    return make("li", { className: "whole" }, image);
  };

  const download = button("Download", () =>
    keep("Generating the sheet...", async (signal) => {
      save(await (await send(callFor("png"), signal)).blob(), fileName());
      return "The sheet was saved to your downloads.";
    }),
  );
  const keep = worker(download, line);

  const row = make("div", { className: "row" }, ...controls.elements, download);
  queueMicrotask(draw);
  const samples = make("section", { ariaLabel: "Samples" }, row, sheet, line, code.block);
  return vectors ? [samples] : [samples, pins.element, walk.element];
}
