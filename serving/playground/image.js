// An image made to fit what the server takes.

const MARGIN = 0.95; // the server counts pixels after it has padded the sides

/** Give an image as it is, or scaled down where the server would refuse its size: {blob, note}. */
export async function fitted(file, limits) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, note: "" }; // the server says what is wrong with it
  const { width, height } = bitmap;
  const scale = Math.sqrt((MARGIN * limits.pixels) / (width * height));
  if (scale >= 1 && file.size <= limits.upload) return { blob: file, note: "" };
  const factor = Math.min(scale, 1);
  const canvas = new OffscreenCanvas(Math.floor(width * factor), Math.floor(height * factor));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  return { blob, note: `Scaled down from ${width}×${height} to ${canvas.width}×${canvas.height}. ` };
}
