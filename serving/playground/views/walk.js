// Interpolation between the latents of seeds, with a slider and an animation.

import { send } from "../parts/call.js";
import { codeBlock } from "../parts/code.js";
import { button, make, save } from "../parts/dom.js";
import { callOf, hasClasses, isTiny } from "../parts/model.js";
import { worker } from "../parts/work.js";

const STEPS = 16; // frames from one seed to the next
const FRAME = 80; // duration of a frame in milliseconds

/** Create the interpolation section. Return its element and `refresh(seeds)`, which shows another interpolation. */
export function walkView(model, limits, fixed) {
  let frames = [];
  let seeds = [];
  let playing;
  const line = make("p", { className: "line" });
  const image = make("img", { alt: "" });
  const slider = make("input", { type: "range", min: 0, max: 0, value: 0, ariaLabel: "Position in the interpolation" });
  const stage = make("div", { className: "stage" }, image);
  stage.classList.toggle("tiny", isTiny(model));
  const code = codeBlock();
  const run = worker(stage, line);

  const callFor = (format) => ({
    ...callOf(model, "/interpolate"),
    json: { seeds, n: Math.min(1 + STEPS * (seeds.length - 1), limits.images), ...fixed(), format },
  });

  const show = () => {
    if (!frames.length) return;
    const place = (Number(slider.value) / Number(slider.max)) * (seeds.length - 1) || 0;
    const from = Math.min(Math.floor(place), seeds.length - 2);
    const share = `${Math.round(100 * (place - from))}%`;
    slider.ariaValueText = image.alt = `${share} of the way from seed ${seeds[from]} to seed ${seeds[from + 1]}`;
    image.src = frames[slider.value];
  };
  slider.oninput = show;

  const refresh = (wanted) => {
    seeds = wanted;
    code.show(callFor("webp"), `${model.name}-walk.webp`);
    run("Generating the interpolation...", async (signal) => {
      const answer = await (await send(callFor("json"), signal)).json();
      frames = answer.images.map((each) => `data:image/png;base64,${each}`);
      slider.max = frames.length - 1;
      show();
      const classes = hasClasses(model) && !fixed().label ? ` All frames use the class of seed ${seeds[0]}.` : "";
      return `Interpolation from seed ${seeds.join(" to seed ")}.${classes}`;
    });
  };

  const play = button("Play", () => {
    clearInterval(playing);
    if (play.ariaPressed === "true") return (play.ariaPressed = "false");
    play.ariaPressed = "true";
    playing = setInterval(() => {
      if (!slider.isConnected) return clearInterval(playing);
      slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
      show();
    }, FRAME);
  });
  play.ariaPressed = "false";

  const film = button("Download animation", () =>
    keep("Generating the animation...", async (signal) => {
      save(await (await send(callFor("webp"), signal)).blob(), `${model.name}-walk.webp`);
      return "The animation was saved to your downloads.";
    }),
  );
  const keep = worker(film, line);
  const row = make("div", { className: "row" }, slider, play, film);
  const element = make("section", { ariaLabel: "Interpolation" }, make("h3", {}, "Interpolation"), stage, row, line, code.block);
  return { element, refresh };
}
