// Properties of a model, derived from its description in `/v1/models`.

/** Return the only graph of a sampling model. */
const generator = (model) => Object.values(model.graphs)[0];

/** Return whether the model generates vectors, which are shown as a scatter plot. */
export const drawsVectors = (model) => generator(model).output.meaning === "vector";

/** Return whether the model is class-conditional. */
export const hasClasses = (model) => model.labels.length > 0;

/** Return the names of the translation directions. */
export const directions = (model) => Object.keys(model.graphs);

/** Return how many times as high and wide as its source a translation is. */
export const scaleOf = (model, direction) => model.graphs[direction].output.scale ?? 1;

/** Return the label of a direction. */
export const arrow = (direction) => ({ a2b: "a → b", b2a: "b → a" })[direction] ?? direction;

/** Return whether the images are small enough to be shown without smoothing. */
export const isTiny = (model) => model.task === "sample" && generator(model).output.shape[1] <= 64;

/** Return a random seed. */
export const anySeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** Return a short description of the model's output. */
export function sizeOf(model) {
  const { output, inputs } = generator(model);
  if (drawsVectors(model)) return `${output.shape[1]}-dimensional vectors`;
  const [height, width] = inputs.image?.trained_size ?? output.shape.slice(1, 3);
  const colours = new Set([inputs.image ?? output, output].map(({ shape }) => (shape[3] === 1 ? "greyscale" : "RGB")));
  return `${width}×${height} ${[...colours].join(" to ")}${output.scale ? `, enlarged ×${output.scale}` : ""}`;
}

/** Return a call to a model, with the version that the page has loaded. */
export const callOf = ({ name, version }, path) => ({ path: `v1/models/${encodeURIComponent(name)}${path}`, version });

/** Return the call for the image of one seed. The response never changes, so browsers cache it. */
export const pictureCall = (model, seed, controls) =>
  callOf(model, `/samples/${seed}.png?${new URLSearchParams({ version: model.version, ...controls })}`);
