"""Speed and file size of image encoders, relative to Pillow's PNG with default settings.

    python -m tests.bench.encoders

OpenCV is measured if it is installed (`make install` installs it).
"""

import argparse
import importlib.util
import io
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from serving.arrays import Pixels
from serving.imaging.codec import encode_jpeg, encode_png, encode_webp
from serving.imaging.sheets import sheet
from tests.bench.machine import describe_machine
from training.data.dataset import open_data

Encoder = Callable[[Pixels], bytes]
Row = dict[str, Any]

BASELINE = "PNG, Pillow as it comes"
ROUNDS, SECONDS = 5, 0.1
RLE, HUFFMAN = 3, 2
"""zlib strategies: Z_RLE (run-length matches only) and Z_HUFFMAN_ONLY (no matches)."""


def encoders() -> dict[str, Encoder]:
    """Return the encoders to compare."""
    made: dict[str, Encoder] = {
        BASELINE: by_pillow("PNG"),
        "PNG, Pillow level 1": by_pillow("PNG", compress_level=1),
        "PNG, Pillow level 1, runs": by_pillow("PNG", compress_level=1, compress_type=RLE),
        "PNG, Pillow level 1, Huffman": by_pillow("PNG", compress_level=1, compress_type=HUFFMAN),
        "WebP, lossless, method 0": by_pillow("WEBP", lossless=True, method=0, quality=0),
        "ours: PNG": encode_png,
        "ours: WebP": encode_webp,
        "ours: JPEG": encode_jpeg,
    }
    if importlib.util.find_spec("cv2"):
        made |= by_opencv()
    return made


def by_pillow(kind: str, **options: object) -> Encoder:
    """Return an encoder that uses Pillow."""

    def encode(pixels: Pixels) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(out, kind, **options)
        return out.getvalue()

    return encode


def by_opencv() -> dict[str, Encoder]:
    """Return encoders that use OpenCV, which expects BGR."""
    import cv2

    def encoder(*options: int) -> Encoder:
        return lambda pixels: cv2.imencode(".png", pixels[:, :, ::-1], options)[1].tobytes()

    level, way = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY
    return {
        "PNG, OpenCV as it comes": encoder(),
        "PNG, OpenCV level 1, runs": encoder(level, 1, way, cv2.IMWRITE_PNG_STRATEGY_RLE),
    }


def pictures() -> dict[str, Pixels]:
    """Return an image of each kind that the server encodes."""
    glyphs = open_data("glyphs", (1, 32, 32), 0).batch(0, 64)["real"]
    drawn = ((glyphs.numpy() + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return {
        "a character, 32x32": drawn[0],
        "a sheet of 64": sheet(drawn),
        "like a photograph, 256x256": natural(256),
    }


def natural(side: int) -> Pixels:
    """Draw noise with the 1/f amplitude spectrum of photographs."""
    chance = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequency[0, 0] = 1 / side
    noise = np.fft.fft2(chance.standard_normal((3, side, side))) / frequency
    colours = np.fft.ifft2(noise).real
    colours = 0.7 * colours[:1] + 0.3 * colours
    scaled = 128 + 50 * (colours - colours.mean()) / colours.std()
    return np.ascontiguousarray(scaled.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def race(pixels: Pixels) -> Iterator[Row]:
    """Run all encoders on an image in turns; yield the median microseconds and the bytes of each."""
    able = encoders()
    rounds: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(ROUNDS):
        for name, encode in able.items():
            start, runs = time.perf_counter(), 0
            while time.perf_counter() - start < SECONDS:
                encode(pixels)
                runs += 1
            rounds[name].append(1e6 * (time.perf_counter() - start) / runs)
    for name, encode in able.items():
        yield {"encoder": name, "us": statistics.median(rounds[name]), "bytes": len(encode(pixels))}


def main() -> None:
    """Measure, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/encoders"))
    asked = parser.parse_args()
    rows = [{"picture": name, **row} for name, pixels in pictures().items() for row in race(pixels)]
    bases = {row["picture"]: row for row in rows if row["encoder"] == BASELINE}
    lines = ["| image | encoder | speed ratio | size ratio |", "| --- | --- | --- | --- |"]
    for row in rows:
        base = bases[row["picture"]]
        ratios = f"{base['us'] / row['us']:.2f} | {row['bytes'] / base['bytes']:.2f}"
        lines.append(f"| {row['picture']} | {row['encoder']} | {ratios} |")
    title = f'Image encoders: speed and file size, relative to "{BASELINE}" (default settings)'
    machine = describe_machine("pillow", "opencv-python-headless")
    asked.out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    asked.out.with_suffix(".md").write_text(f"# {title}\n\n{machine}\n\n" + "\n".join(lines) + "\n")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
