// Pinned samples. Only the seeds are stored; the images are generated with the current class and truncation.

import { read, write } from "../parts/address.js";
import { send } from "../parts/call.js";
import { button, display, make, save } from "../parts/dom.js";
import { isTiny, pictureCall } from "../parts/model.js";
import { worker } from "../parts/work.js";

const HINT = "Select samples in the sheet to pin them. Pin two or more to interpolate between them.";

/** Create the tray of pins. `fixed()` returns class and truncation; `changed` is called when the pins change. */
export function pinsView(model, fixed, changed) {
  let seeds = (read().pins ?? "").split(",").filter((text) => /^\d+$/.test(text)).map(Number);
  const tray = make("ul", { className: "pins" });
  tray.classList.toggle("tiny", isTiny(model));
  const hint = make("p", { className: "line" }, HINT);
  const line = make("p", { className: "line" });
  const title = make("h3", { tabIndex: -1 }, "Pinned");
  const element = make("section", { ariaLabel: "Pinned" }, title, hint, tray, line);
  const run = worker(tray, line);

  const toggle = (seed) => {
    seeds = seeds.includes(seed) ? seeds.filter((each) => each !== seed) : [...seeds, seed];
    write({ pins: seeds.join(",") });
    changed();
  };

  /** Create a button with a sample. Pressing it pins or unpins the seed. */
  const pinnable = (seed, src) => {
    const pin = button("", () => toggle(seed), { title: `Seed ${seed}`, ariaLabel: `Pin seed ${seed}` });
    pin.dataset.seed = seed;
    pin.append(make("img", { src, alt: "" }));
    return pin;
  };

  const pinned = (seed, index) => {
    const fetch = async (signal) => (await send(pictureCall(model, seed, fixed()), signal)).blob();
    const image = make("img", { alt: `Sample of seed ${seed}` });
    fetch().then((blob) => display(image, blob)).catch(({ message }) => (image.alt = message));
    const keep = () => run("", async (signal) => save(await fetch(signal), `${model.name}-${seed}.png`));
    const unpin = () => {
      toggle(seed);
      const [...left] = tray.querySelectorAll(".unpin");
      (left[index] ?? left.at(-1) ?? title).focus(); // keep the keyboard focus in the tray
    };
    return make(
      "li",
      {},
      image,
      make("span", {}, String(seed)),
      button("↓", keep, { ariaLabel: `Download seed ${seed}` }),
      button("×", unpin, { ariaLabel: `Unpin seed ${seed}`, className: "unpin" }),
    );
  };

  /** Update the tray, and mark the pinned samples in the sheet. */
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
