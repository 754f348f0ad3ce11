// What a model's description says, in the words of this page.

/** The only graph of a model that samples. */
const generator = (model) => Object.values(model.graphs)[0];

/** Whether it draws vectors, which are shown as dots. */
export const drawsVectors = (model) => generator(model).output.meaning === "vector";

/** Whether it is told a class. */
export const hasClasses = (model) => model.labels.length > 0;

/** The directions in which it translates, by name. */
export const directions = (model) => Object.keys(model.graphs);

/** A direction as people read it. */
export const arrow = (direction) => ({ a2b: "a → b", b2a: "b → a" })[direction] ?? direction;

/** Pictures so small that their pixels are to be seen. */
export const isTiny = (model) => model.task === "sample" && generator(model).output.shape[1] <= 64;

/** A seed that nobody chose. */
export const anySeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** What it makes, in a few words. */
export function sizeOf(model) {
  const { output, inputs } = generator(model);
  if (drawsVectors(model)) return `${output.shape[1]} numbers`;
  const [height, width] = inputs.image?.trained_size ?? output.shape.slice(1, 3);
  return `${width}×${height} ${output.shape[3] === 1 ? "grey" : "RGB"}`;
}

/** A call to a model, of the version that the page knows. */
export const callOf = ({ name, version }, path) => ({ path: `v1/models/${encodeURIComponent(name)}${path}`, version });

/** The call for one seed's picture; it is the same for ever, so that browsers keep it. */
export const pictureCall = (model, seed, controls) =>
  callOf(model, `/samples/${seed}.png?${new URLSearchParams({ version: model.version, ...controls })}`);
