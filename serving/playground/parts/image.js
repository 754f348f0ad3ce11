// An image made to fit what the server takes.

/**
 * Give an image as it is, or smaller where the server would refuse it: {blob, note}.
 * `grid` has the multiple and the least of a side, to which the server pads before it counts pixels.
 */
export async function fitted(file, limits, grid) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, note: "" }; // the server says what is wrong with it
  const { width, height } = bitmap;
  const padded = (side) => Math.max(grid.least ?? 1, Math.ceil(side / (grid.multiple ?? 1)) * (grid.multiple ?? 1));
  const fits = (factor) => padded(Math.floor(width * factor)) * padded(Math.floor(height * factor)) <= limits.pixels;
  if (fits(1) && file.size <= limits.upload) return { blob: file, note: "" };
  let factor = 1;
  while (!fits(factor) && factor > 0.01) factor *= 0.99;
  const canvas = new OffscreenCanvas(Math.floor(width * factor), Math.floor(height * factor));
  const paper = canvas.getContext("2d");
  paper.fillStyle = "white"; // under what is transparent, as the server has it
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  const smaller = `Scaled down from ${width}×${height} to ${canvas.width}×${canvas.height}. `;
  return { blob, note: factor < 1 ? smaller : "Packed anew as a JPEG, since the file was too large. " };
}
