"""Padded images: while many are sent, the requests of others are about as quick as without them."""

import io
import json
import multiprocessing
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

from serving.settings import Settings
from tests.bench.load import Load, request_bytes
from tests.reliability.finding import Finding
from tests.reliability.probes import p99
from tests.reliability.servers import naive, ours

SIZE = 8 * 2**20 - 2**12
"""Bytes of the largest images, which are almost the most that the server accepts."""

RATE, CLIENTS = 20.0, 16
"""Images sent per second, and clients that send them."""

TIMES, FLOOR = 2.0, 50.0
"""Maximum ratio of the others' p99 to the one without padded images; milliseconds that are always allowed."""

DECIDED, SHARE = {200, 400, 413, 415, 429}, 0.5
"""Statuses that padded images may get; minimum share of the planned images that are answered."""

LEAD = 2.0
"""Seconds for which images are sent before others are measured."""

ROUNDS = 3
"""Measurements of which the quietest counts."""

Padded = dict[str, bytes]


def _encoded(kind: str, side: int = 32, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def _chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def padded() -> Padded:
    """Return padded images, by what they are padded with."""
    return _jpegs() | _others()


def _jpegs() -> Padded:
    jpeg, scans = _encoded("JPEG"), _encoded("JPEG", 512, progressive=True)
    last = scans.rindex(b"\xff\xda")
    tags = struct.pack("<H", 5000) + b"".join(struct.pack("<HHII", n, 7, 2**16, 8) for n in range(5000))
    exif = b"II*\0" + struct.pack("<I", 8) + tags + bytes(4)
    resources = _segment(0xED, b"Photoshop 3.0\0" + (b"8BIM\0\1\0\0" + bytes(4)) * 5400)
    tables = _segment(0xDB, (b"\0" + b"\1" * 64) * 1000)
    return {
        "fill bytes before a segment": jpeg[:2] + b"\xff" * SIZE + jpeg[2:],
        "stuffed bytes before a segment": jpeg[:20] + b"\xff\0" * (SIZE // 2) + jpeg[20:],
        "fill bytes in a scan": jpeg[:-2] + b"\xff" * SIZE + jpeg[-2:],
        "restarts in a scan": jpeg[:-2] + b"\xff\xd0" * (SIZE // 2) + jpeg[-2:],
        "comments": jpeg[:2] + _segment(0xFE, b"") * (SIZE // 4) + jpeg[2:],
        "resources": jpeg[:2] + resources * (SIZE // len(resources)) + jpeg[2:],
        "tables": jpeg[:2] + tables * (SIZE // len(tables)) + jpeg[2:],
        "EXIF entries": jpeg[:2] + _segment(0xE1, b"Exif\0\0" + exif) + jpeg[20:],
        "scans": scans[:-2] + scans[last:-2] * ((SIZE - len(scans)) // len(scans[last:-2])) + scans[-2:],
    }


def _others() -> Padded:
    png, webp, film = _encoded("PNG"), _encoded("WEBP"), io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (n % 256, n // 256, 0)) for n in range(2000)]
    frames[0].save(film, "WEBP", save_all=True, append_images=frames[1:])
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20)))
    riff = b"RIFF" + struct.pack("<I", SIZE) + webp[8:]
    return {
        "empty chunks": png[:33] + _chunk(b"teSt") * (SIZE // 12) + png[33:],
        "empty chunks of pixels": png[:33] + _chunk(b"IDAT") * (SIZE // 12) + png[33:],
        "compressed texts": png[:33] + text * (SIZE // len(text)) + png[33:],
        "chunks of a WebP": riff + b"JUNK\0\0\0\0" * (SIZE // 8),
        "frames of a WebP": film.getvalue(),
    }


class Disturbed(NamedTuple):
    """The p99 latency of other requests while images are sent, in milliseconds, and the images' statuses."""

    sample: float
    live: float
    statuses: Counter[int]
    """Responses to images by their status; 0 counts lost ones."""

    def is_within(self, idle: "Disturbed") -> bool:
        """Whether both are within the bounds, by what they are without padded images."""
        pairs = ((self.sample, idle.sample), (self.live, idle.live))
        return all(found <= max(TIMES * before, FLOOR) for found, before in pairs)

    def is_flooded(self, seconds: float, rounds: int = 1) -> bool:
        """Whether enough images were answered in some measurements, each with a status that it may get."""
        kinds = {status for status, count in self.statuses.items() if count}
        return kinds <= DECIDED and self.statuses.total() >= SHARE * RATE * rounds * (seconds + LEAD)

    @property
    def said(self) -> str:
        """The statuses in words."""
        counted = (f"{count:,} got {status}" for status, count in sorted(self.statuses.items()) if count)
        return ", ".join(counted) or "no response"


def _flood(url: str, images: Padded, seconds: float) -> Counter[int]:
    path, kind = f"{url}/v1/models/styles/translate", {"Content-Type": "image/jpeg"}
    requests = [request_bytes("POST", path, image, kind) for image in images.values()]
    return Load(url, requests, CLIENTS).open(seconds, RATE).statuses


@contextmanager
def _flooded(url: str, images: Padded, seconds: float) -> Iterator[Counter[int]]:
    """Send images from another process while the block runs; then the statuses are complete."""
    statuses = Counter[int]()
    if not images:
        yield statuses
        return
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(abs, (0,))  # the process has started
        sent = pool.apply_async(_flood, (url, images, seconds + LEAD))
        time.sleep(LEAD)
        yield statuses
        statuses.update(sent.get())


def disturb(url: str, images: Padded, seconds: float) -> Disturbed:
    """Measure small requests, 20 a second, while images are sent."""
    live, samples, over = list[float](), list[float](), threading.Event()
    body = json.dumps({"seed": 1, "format": "npy"}).encode()

    def ask(method: str, path: str, content: bytes, times: list[float]) -> None:
        with httpx.Client(base_url=url, timeout=30, headers={"content-type": "application/json"}) as client:
            while not over.wait(0.05):
                start = time.perf_counter()
                client.request(method, path, content=content)
                times.append(1e3 * (time.perf_counter() - start))

    asked = (("GET", "/livez", b"", live), ("POST", "/v1/models/pictures/sample", body, samples))
    threads = [threading.Thread(target=ask, args=each) for each in asked]
    with _flooded(url, images, seconds) as statuses:
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        over.set()
        for thread in threads:
            thread.join()
    return Disturbed(p99(samples), p99(live), statuses)


def quietest(url: str, images: Padded, seconds: float) -> Disturbed:
    """Measure several times, and return the lowest latencies: other programs can only add to them."""
    found = [disturb(url, images, seconds) for _ in range(ROUNDS)]
    statuses = sum((each.statuses for each in found), Counter[int]())
    return Disturbed(min(each.sample for each in found), min(each.live for each in found), statuses)


def padding(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Send padded images to our server and to the naive one, which decodes them in its event loop."""
    seconds, images, settings = 100.0 if long else 10.0, padded(), Settings(artifacts=artifacts)
    with ours(settings, scratch / "ours") as (url, _):
        idle = quietest(url, {}, seconds)
        found = quietest(url, images, seconds)
    with naive(settings, scratch / "naive") as (url, _):
        calm, control = disturb(url, {}, 5.0), disturb(url, images, 5.0)
    return Finding(
        f"{RATE:g} padded images of up to 8 MB a second, of {len(images)} kinds: at least {SHARE:.0%} of "
        f"them are answered, with {', '.join(map(str, sorted(DECIDED)))}, and the p99 of others' samples "
        f"and of /livez stays within {TIMES:g} times the one without them, or {FLOOR:g} ms",
        f"samples {found.sample:.0f} ms ({idle.sample:.0f} without), /livez {found.live:.0f} ms "
        f"({idle.live:.0f} without); of the images, {found.said}",
        f"a server that decodes in its event loop: samples {control.sample:.0f} ms ({calm.sample:.0f} "
        f"without); of the images, {control.said}",
        found.is_within(idle) and found.is_flooded(seconds, ROUNDS) and not control.is_within(calm),
    )
