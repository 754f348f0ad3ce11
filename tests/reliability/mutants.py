"""Malformed requests, made by mutating valid bodies, images, paths and headers; deterministic in the seed."""

import copy
import json
import random
import string
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CORPUS = Path(__file__).parent / "corpus"
"""Images that are hard to decode. The fuzzer sends them first, and adds the failing ones that it finds."""

NASTY: list[Any] = [
    *(0, -1, 1, 1.5, 1e308, 10**40, 2**31, 2**53, 2**63, -(10**40), float("nan"), float("inf")),
    *(True, None, "", "3", "png", "\x00", "\ud800", "x" * 10_000, "../../etc/passwd", "'; --", "%s%n"),
    *([], {}, [[]], [None], [[1, 2], [3]], {"a": {"b": []}}, [0] * 5000, "http://127.0.0.1:1/x.png"),
]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/models/pictures/sample": {"n": 2, "seed": 5, "truncation": 0.7, "format": "npy"},
    "/v1/models/classes/sample": {"n": 1, "label": 0, "format": "png"},
    "/v1/models/pictures/interpolate": {"seeds": [1, 2], "n": 3, "milliseconds": 50, "format": "webp"},
    "/v2/models/pictures/infer": {
        "id": "x",
        "inputs": [{"name": "latent", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}],
        "outputs": [{"name": "output", "parameters": {"binary_data": False}}],
    },
    "/sample": {"model": "pictures", "n": 1, "seed": 5},
    "/translate": {"model": "styles", "image": "aGVsbG8="},
}

KINDS = ["application/json", "text/plain", "image/png", "application/octet-stream", "multipart/form-data", ""]
KINDS += [
    "application/x-www-form-urlencoded",
    "application/vnd.bentoml+pickle",
    "application/json; charset=é",
]


class Case(NamedTuple):
    """A request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


def cases(seed: int) -> Iterator[Case]:
    """Yield malformed requests endlessly."""
    chance = random.Random(seed)
    for image in sorted(CORPUS.iterdir()):
        yield _translate(image.read_bytes(), chance)
    makers = [_json, _json, _image, _image, _path, _form]
    while True:
        yield chance.choice(makers)(chance)


def _json(chance: random.Random) -> Case:
    """Put invalid values into a valid body, or corrupt its text."""
    path = chance.choice(list(BODIES))
    body = copy.deepcopy(BODIES[path])
    for _ in range(chance.randint(0, 2)):
        _spoil(body, chance)
    text = json.dumps(body).encode()
    if chance.random() < 0.2:
        text = _break(text, chance)
    if chance.random() < 0.05:
        text = b"[" * 20_000 + text
    kind = "application/json" if chance.random() < 0.9 else chance.choice(KINDS)
    return Case("POST", path, text, {"Content-Type": kind})


def _spoil(value: Any, chance: random.Random) -> None:
    """Replace, add or remove one value at a random place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and chance.random() < 0.7:
            value = value[key]
            continue
        match chance.randrange(4):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[chance.choice(string.ascii_letters) * chance.randint(1, 9)] = chance.choice(NASTY)
            case _:
                value[key] = copy.deepcopy(chance.choice(NASTY))
        return


def _break(data: bytes, chance: random.Random) -> bytes:
    """Flip, delete, duplicate or insert bytes."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(broken) + 1)
        match chance.randrange(4):
            case 0 if place < len(broken):
                broken[place] ^= 1 << chance.randrange(8)
            case 1:
                del broken[place : place + chance.choice([1, 4, 64, 10**6])]
            case 2:
                broken[place:place] = broken[place : place + chance.randint(1, 64)]
            case _:
                broken[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(broken)


def _image(chance: random.Random) -> Case:
    """Corrupt an image, change its header, or splice two images."""
    seeds = sorted(CORPUS.iterdir())
    data = chance.choice(seeds).read_bytes()
    match chance.randrange(4):
        case 0:
            data = _lie(data, chance)
        case 1:
            other = chance.choice(seeds).read_bytes()
            data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
        case _:
            data = _break(data, chance)
    return _translate(data, chance)


def _lie(data: bytes, chance: random.Random) -> bytes:
    """Change size, bit depth or colour type in the header of a PNG, with a valid checksum."""
    if data[:4] != b"\x89PNG" or len(data) < 33:
        return _break(data, chance)
    sides = [chance.choice([0, 1, 7, 333, 20_000, 2**31 - 1, 2**32 - 1]) for _ in range(2)]
    kind = [chance.choice([1, 2, 4, 8, 16, 3]), chance.choice([0, 2, 3, 4, 6, 1]), 0, 0, chance.randrange(3)]
    header = b"IHDR" + struct.pack(">II5B", *sides, *kind)
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def _translate(data: bytes, chance: random.Random) -> Case:
    direction = chance.choice(["", "?direction=a2b", "?direction=b2a", "?direction=up", "?format=npy"])
    kind = chance.choice(["image/png", "image/jpeg", "application/octet-stream"])
    return Case("POST", f"/v1/models/styles/translate{direction}", data, {"Content-Type": kind})


def _path(chance: random.Random) -> Case:
    """Request a path that does not exist, or use another method."""
    names = ["pictures", "styles", "..", "%2e%2e", "%00", "%0a", "x" * 3000, "%ff", "Ä", "a/b", "*"]
    name = chance.choice(names)
    ends = ["", "/sample", f"/samples/{chance.choice(['1', '-1', '9' * 30, '1e3', '%0d%0a', '٣'])}.png"]
    path = chance.choice(["/v1/models/", "/v2/models/", "/", "/v1/"]) + name + chance.choice(ends)
    query = chance.choice(["", "?version=1", "?truncation=nan", "?label=" + "é" * 200, "?a=1&a=2", "?%ff"])
    return Case(chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]), path + query, b"", {})


def _form(chance: random.Random) -> Case:
    """Send a form that is corrupt or has extra fields."""
    image = chance.choice(sorted(CORPUS.iterdir())).read_bytes()
    text = 'Content-Disposition: form-data; name="{}"'
    parts = [text.format("image").encode() + b'; filename="x.png"\r\n\r\n' + image]
    for _ in range(chance.choice([0, 1, 1, 20])):
        name, value = chance.choice(["direction", "format", "image", "x"]), str(chance.choice(NASTY))
        parts.append(text.format(name).encode() + b"\r\n\r\n" + value.encode(errors="surrogatepass"))
    body = b"".join(b"--y\r\n" + part + b"\r\n" for part in parts) + b"--y--\r\n"
    if chance.random() < 0.5:
        body = _break(body, chance)
    boundary = chance.choice(["y", "y", "y", '"y"', "", "z", "y" * 100])
    kind = f"multipart/form-data; boundary={boundary}"
    return Case("POST", "/v1/models/styles/translate", body, {"Content-Type": kind})
