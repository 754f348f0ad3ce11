// Two images of one size on top of each other, parted by a slider.

import { display, make } from "../parts/dom.js";

/** Make the element; `show(original, translated)` takes blobs. */
export function compareView() {
  const original = make("img", { alt: "The original" });
  const translated = make("img", { alt: "The translation", className: "translated" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, ariaLabel: "How much of the original is shown" });
  const captions = make("figcaption", {}, make("span", {}, "original"), make("span", {}, "translated"));
  const stage = make("div", { className: "compare" }, original, translated, slider);
  const element = make("figure", {}, stage, captions);
  slider.oninput = () => {
    stage.style.setProperty("--at", `${slider.value}%`);
    slider.ariaValueText = `${slider.value}% original`;
  };
  slider.oninput();

  const show = async (before, after) => {
    await Promise.all([display(original, before), display(translated, after)]);
    stage.classList.toggle("tiny", translated.naturalWidth <= 64);
  };
  return { element, show };
}
