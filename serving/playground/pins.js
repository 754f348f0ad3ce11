// Pictures that are kept. A seed is kept; what is drawn of it follows the controls.

import { read, write } from "./address.js";
import { send } from "./call.js";
import { button, make, save } from "./dom.js";
import { isTiny, pictureCall } from "./model.js";

const HINT = "Choose pictures of the sheet: they stay here, and the walk goes by them.";

/** Make the tray of kept pictures; `fixed()` says how they are drawn, `changed` is called when there are others. */
export function pinsView(model, fixed, changed) {
  let seeds = (read().pins ?? "").split(",").filter(Boolean).map(Number);
  const tray = make("ul", { className: "pins" });
  tray.classList.toggle("tiny", isTiny(model));
  const hint = make("p", { className: "line" }, HINT);
  const element = make("section", { ariaLabel: "Pinned" }, make("h3", {}, "Pinned"), hint, tray);

  const toggle = (seed) => {
    seeds = seeds.includes(seed) ? seeds.filter((each) => each !== seed) : [...seeds, seed];
    write({ pins: seeds.join(",") });
    changed();
  };

  /** Make a picture that is kept, or no longer, when it is pressed. */
  const pinnable = (seed, src) => {
    const pin = button("", () => toggle(seed), { title: `Seed ${seed}`, ariaLabel: `Pin seed ${seed}` });
    pin.dataset.seed = seed;
    pin.append(make("img", { src, alt: "" }));
    return pin;
  };

  const pinned = (seed) => {
    const picture = send(pictureCall(model, seed, fixed())).then((answer) => answer.blob());
    const image = make("img", { alt: `The picture of seed ${seed}` });
    picture.then((blob) => (image.src = URL.createObjectURL(blob)), ({ message }) => (image.alt = message));
    const keep = async () => save(await picture, `${model.name}-${seed}.png`);
    return make(
      "li",
      {},
      image,
      make("span", {}, String(seed)),
      button("↓", keep, { ariaLabel: `Download seed ${seed}` }),
      button("×", () => toggle(seed), { ariaLabel: `Unpin seed ${seed}` }),
    );
  };

  /** Draw the tray, and mark those pictures of a sheet that are kept. */
  const refresh = (sheet) => {
    tray.replaceChildren(...seeds.map(pinned));
    hint.hidden = seeds.length > 1;
    mark(sheet);
  };
  const mark = (sheet) => {
    for (const pin of sheet.querySelectorAll("button")) {
      pin.ariaPressed = String(seeds.includes(Number(pin.dataset.seed)));
    }
  };
  return { element, pinnable, refresh, mark, seeds: () => seeds };
}
