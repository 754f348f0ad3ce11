// Where an image to translate comes from: a file, the clipboard, or a model that draws.

import { send } from "./call.js";
import { make } from "./dom.js";
import { drawsVectors, pictureCall } from "./model.js";
import { thumbnail } from "./thumbnail.js";

const KINDS = "image/png,image/jpeg,image/webp";

/** Make the place that takes an image, and hands it on as `take(blob, name)`. */
export function sourcesView(models, take) {
  const choose = () => input.files.length && take(input.files[0], input.files[0].name);
  const input = make("input", { type: "file", accept: KINDS, onchange: choose });
  const words = make("span", {}, make("strong", {}, "Choose an image"), ", drop it here, or paste one.");
  const note = make("small", {}, "PNG, JPEG or WebP. It goes to this server and nowhere else, and is not kept.");
  const zone = make("label", { className: "drop" }, input, words, note);
  dropInto(zone, take);
  pasteFor(zone, take);
  const drawing = models.filter((model) => model.task === "sample" && !drawsVectors(model));
  if (!drawing.length) return zone;
  const others = drawing.map((model) => drawnBy(model, take));
  return make("div", {}, zone, make("p", { className: "row" }, "Or what another model draws:", ...others));
}

function dropInto(zone, take) {
  zone.ondragover = (event) => {
    event.preventDefault();
    zone.classList.add("over");
  };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  };
}

/** Take what is pasted anywhere, for as long as a place is on the page. */
function pasteFor(zone, take) {
  const pasted = (event) => {
    if (!zone.isConnected) return removeEventListener("paste", pasted);
    const [file] = event.clipboardData.files;
    if (file) take(file, file.name);
  };
  addEventListener("paste", pasted);
}

function drawnBy(model, take) {
  const draw = async () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    take(await (await send(pictureCall(model, seed))).blob(), `${model.name}-${seed}.png`);
  };
  const properties = { type: "button", onclick: draw, title: model.name, ariaLabel: `A picture of ${model.name}` };
  return make("button", properties, thumbnail(model));
}
