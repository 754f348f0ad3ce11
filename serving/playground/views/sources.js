// Where an image to translate comes from: a file, the clipboard, or a model that draws.

import { send } from "../parts/call.js";
import { make } from "../parts/dom.js";
import { anySeed, drawsVectors, pictureCall } from "../parts/model.js";
import { thumbnail } from "../parts/thumbnail.js";

const KINDS = "image/png,image/jpeg,image/webp";

/** Make the place that takes an image, and hands it on as `take(fetch, name)`; `fetch(signal)` promises a blob. */
export function sourcesView(models, take) {
  const given = ([file]) => file && take(async () => file, file.name || "pasted.png");
  const chosen = () => {
    given(input.files);
    input.value = ""; // or the same file could not be chosen again
  };
  const input = make("input", { type: "file", accept: KINDS, onchange: chosen });
  const words = make("span", {}, make("strong", {}, "Choose an image"), ", drop it here, or paste one.");
  const note = make("small", {}, "PNG, JPEG or WebP. It goes to this server and nowhere else, and is not kept.");
  const zone = make("label", { className: "drop" }, input, words, note);
  dropInto(zone, given);
  pasteFor(zone, given);
  const drawing = models.filter((model) => model.task === "sample" && !drawsVectors(model));
  if (!drawing.length) return zone;
  const others = drawing.map((model) => drawnBy(model, take));
  return make("div", {}, zone, make("p", { className: "row" }, "Or what another model draws:", ...others));
}

function dropInto(zone, given) {
  const over = (event) => zone.classList.toggle("over", event.type === "dragover");
  zone.ondragover = zone.ondragleave = over;
  zone.ondrop = (event) => {
    over(event);
    given(event.dataTransfer.files);
  };
}

/** Take what is pasted anywhere, for as long as a place is on the page. */
function pasteFor(zone, given) {
  const pasted = (event) => {
    if (!zone.isConnected) return removeEventListener("paste", pasted);
    given(event.clipboardData.files);
  };
  addEventListener("paste", pasted);
}

function drawnBy(model, take) {
  const draw = () => {
    const seed = anySeed();
    const fetch = async (signal) => (await send(pictureCall(model, seed), signal)).blob();
    take(fetch, `${model.name}-${seed}.png`);
  };
  const properties = { type: "button", onclick: draw, title: model.name, ariaLabel: `A picture of ${model.name}` };
  return make("button", properties, thumbnail(model));
}
