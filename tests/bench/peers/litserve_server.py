"""LitServe with its own batching: one worker, batches of 64 gathered for two milliseconds at most."""

import io
import os
import sys

import litserve
import numpy as np
import onnxruntime
from fastapi import Request, Response
from PIL import Image

from serving.imaging.codec import decode, encode_png
from serving.imaging.sheets import sheet
from serving.runtime.latents import draw_latents


class Sampler(litserve.LitAPI):
    """Samples from seeds."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_GRAPH"], providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: dict) -> tuple[np.ndarray, str]:
        """Draw the latents."""
        seed, n = request["seed"], request["n"]
        return draw_latents(100, list(range(seed, seed + n))), request["format"]

    def batch(self, inputs: list) -> tuple[np.ndarray, list[int], list[str]]:
        """Put requests together."""
        latents = [latent for latent, _ in inputs]
        return np.concatenate(latents), [len(latent) for latent in latents], [kind for _, kind in inputs]

    def predict(self, batch: tuple) -> tuple:
        """Run a batch."""
        latents, sizes, kinds = batch
        return self.session.run(None, {"latent": latents})[0], sizes, kinds

    def unbatch(self, output: tuple) -> list:
        """Take requests apart."""
        pixels, sizes, kinds = output
        return list(zip(np.split(pixels, np.cumsum(sizes)[:-1]), kinds, strict=True))

    def encode_response(self, output: tuple) -> Response:
        """Encode an answer."""
        pixels, kind = output
        if kind == "npy":
            return Response(pixels.tobytes(), media_type="application/x-npy")
        picture = sheet(pixels) if len(pixels) > 1 else pixels[0]
        file = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(file, "PNG")
        return Response(file.getvalue(), media_type="image/png")


class Translator(litserve.LitAPI):
    """Translates images of one size."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_GRAPH"], providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: Request) -> np.ndarray:
        """Decode the image."""
        return decode(request["image"].file.read(), 3)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Run a batch."""
        return self.session.run(None, {"image": batch})[0]

    def encode_response(self, output: np.ndarray) -> Response:
        """Encode an answer."""
        return Response(encode_png(output), media_type="image/png")


if __name__ == "__main__":
    kind = {"sample": Sampler, "translate": Translator}[sys.argv[2]]
    api = kind(max_batch_size=64 if kind is Sampler else 8, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, track_requests=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
