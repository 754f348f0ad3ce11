// Scaling of images to the limits of the server.

/**
 * Return {blob, note}: the image, or a smaller version if it exceeds the limits of the server.
 * The server pads each side to at least `grid.least` and to a multiple of `grid.multiple` before it counts pixels.
 * It counts those of the result, whose sides are `scale` times as long.
 */
export async function fitted(file, limits, grid, scale) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, note: "" }; // the server returns a precise error
  const { width, height } = bitmap;
  const padded = (side) => Math.max(grid.least ?? 1, Math.ceil(side / (grid.multiple ?? 1)) * (grid.multiple ?? 1));
  const most = Math.floor(limits.pixels / scale ** 2);
  const fits = (factor) => padded(Math.floor(width * factor)) * padded(Math.floor(height * factor)) <= most;
  if (fits(1) && file.size <= limits.upload) return { blob: file, note: "" };
  let factor = 1;
  while (!fits(factor) && factor > 0.01) factor *= 0.99;
  const canvas = new OffscreenCanvas(Math.floor(width * factor), Math.floor(height * factor));
  const paper = canvas.getContext("2d");
  paper.fillStyle = "white"; // background of transparent pixels, as on the server
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  const smaller = `Scaled down from ${width}×${height} to ${canvas.width}×${canvas.height}. `;
  return { blob, note: factor < 1 ? smaller : "Re-encoded as JPEG because the file was too large. " };
}
