"""Artifacts that can't work, or are damaged while they are served: named, counted and never served."""

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import onnxruntime as ort

from serving.errors import EngineError
from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.manifest import MANIFEST_FILE
from serving.runtime.trial import must_work
from serving.settings import Settings
from serving.system.files import write_file
from tests.reliability.crafted import SECRET, changed_manifests, crafted_graphs, with_graph
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

RELOAD = 0.05
"""Seconds between the server's checks of its artifacts."""

SOON = 10.0
"""Maximum seconds until a fault is named."""


class Watched:
    """A server of a copy of some artifacts, and the pictures that it gave at first."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.before = self.picture()
        assert self.before is not None, "the artifact is served before it is harmed"

    def picture(self) -> bytes | None:
        """Return a picture, or None if there is an error."""
        answer = httpx.post(f"{self.url}/v1/models/served/sample", json={"seed": 7, "format": "npy"})
        return answer.content if answer.status_code == 200 else None

    def names(self, named: bool) -> bool:
        """Wait until /readyz names the artifact as refused, or no longer does; return whether it came so."""
        end = time.monotonic() + SOON
        while time.monotonic() < end:
            answer = httpx.get(f"{self.url}/readyz")
            if ("served" in answer.json()["refused"]) == named:
                return answer.status_code == 200
            time.sleep(RELOAD)
        return False

    def refusals(self) -> float:
        """Return how many artifacts were refused since the start, by the metrics."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith('ganzoo_reloads_total{outcome="refused"}')] or [
            "0"
        ]
        return float(line.split()[-1])

    def weathers(self, harm: Callable[[Path], object]) -> bool:
        """Harm the artifact and mend it; return whether it was named, counted and served all the while."""
        kept, count = self.folder.with_name("kept"), self.refusals()
        shutil.copytree(self.folder, kept)
        harm(self.folder)
        told = self.names(True) and self.refusals() > count
        served = self.picture() == self.before
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(kept, self.folder, dirs_exist_ok=True)
        shutil.rmtree(kept)
        return self.names(False) and told and served and self.picture() == self.before


@contextlib.contextmanager
def watched(artifact: Path, scratch: Path) -> Iterator[Watched]:
    """Serve a copy of an artifact while the block runs."""
    folder = scratch / "artifacts" / "served"
    shutil.copytree(artifact, folder)
    with ours(Settings(artifacts=folder.parent, reload=RELOAD, provider="cpu"), scratch / "log") as (url, _):
        yield Watched(url, folder)


def changes(artifact: Path) -> dict[str, Callable[[Path], object]]:
    """Return functions that change an artifact's manifest, by name."""
    content = json.loads((artifact / MANIFEST_FILE).read_text())
    return {
        name: lambda folder, changed=changed: write_file(folder / MANIFEST_FILE, json.dumps(changed).encode())
        for name, changed in changed_manifests(content)
    }


def harms(artifact: Path) -> dict[str, Callable[[Path], object]]:
    """Return functions that harm the file of an artifact's graph, or its manifest, by name."""
    ((_, spec),) = read_manifest(artifact).graphs.items()
    used = spec.variant_for("cpu", "fp32").file
    return {
        f"{file} {name}": lambda folder, file=file, harm=harm: harm(folder / file)
        for file in (used, MANIFEST_FILE)
        for name, harm in HARMS.items()
    }


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    with path.open("r+b") as file:  # in place: the same inode and size
        file.write(data)


def _become(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
        listener.bind(path.name)


HARMS: dict[str, Callable[[Path], object]] = {
    "damaged": _flip,
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "removed": Path.unlink,
    "a FIFO": _become(os.mkfifo),
    "a socket": _become(_listen),
    "a folder": _become(Path.mkdir),
    "a link to nothing": _become(lambda path: path.symlink_to("nothing")),
    "a link to itself": _become(lambda path: path.symlink_to(path.name)),
    "a device that never ends": _become(lambda path: path.symlink_to("/dev/zero")),
}
"""What can happen to a file."""


REASONS = {
    "outside": "got external data",
    "a batch that is ignored": "the output of the graph generator must be uint8 (3, ",
    "rows that are mixed": "must give a row the same output in every batch",
    "two outputs": "and the outputs [",
    "an output of another shape": "and the outputs [",
}
"""What the refusal of a crafted graph says, by words in its name."""


def is_refused(artifact: Path, name: str) -> bool:
    """Return whether an artifact is refused before it is served, for the reason that its graph's name has."""
    (reason,) = (reason for words, reason in REASONS.items() if words in name)
    try:
        engine = Engine(artifact, "cpu")
        must_work(engine.manifest, engine.run)
    except EngineError as error:
        return reason in str(error)
    return False


def loads(graph: bytes) -> bool:
    """Return whether ONNX Runtime by itself loads a graph."""
    try:
        ort.InferenceSession(graph)
    except Exception:  # ONNX Runtime's own errors share no class
        return False
    return True


def manifests(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Change the manifest of a served artifact in every way; its graphs' hashes stay the same."""
    tried = kept = alike = 0
    for name in ("pictures", "classes"):
        with watched(artifacts / name, scratch / name) as server:
            for change in changes(artifacts / name).values():
                tried, kept = tried + 1, kept + server.weathers(change)
    for name in ("pictures", "classes"):
        content = json.loads((artifacts / name / MANIFEST_FILE).read_text())
        hashes = [each["variants"] for each in content["graphs"].values()]
        for _, changed in changed_manifests(content):
            alike += all(each["variants"] in hashes for each in changed["graphs"].values())
    return Finding(
        f"{tried} changed manifests of a served artifact that do not match its graphs: each is named in "
        "/readyz and counted, and the server keeps the one before",
        f"{kept} of {tried}",
        f"a comparison of the graphs' hashes alone: {tried - alike} of {tried} detected",
        kept == tried and alike > 0,
    )


def graphs(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Load graphs that can't work or have external data, with the right hash, here and with ONNX Runtime."""
    manifest = read_manifest(artifacts / "pictures")
    ((_, spec),) = manifest.graphs.items()
    latent, shape = spec.inputs["latent"].size, [int(size) for size in spec.output.shape[1:]]
    crafted = crafted_graphs(latent, shape)
    refused, loaded = 0, set[str]()
    with contextlib.chdir(scratch):
        Path(SECRET).write_bytes(bytes(4 * latent * shape[0] * shape[1] * shape[2]))
        for number, (name, graph) in enumerate(crafted.items()):
            data = graph.SerializeToString()
            refused += is_refused(with_graph(artifacts / "pictures", data, scratch / str(number)), name)
            loaded |= {name} if loads(data) else set()
    outside = sum("outside" in name for name in loaded)
    return Finding(
        f"{len(crafted)} graphs with external data, two outputs, an output of another shape, or one that "
        "ignores or mixes the batch: each is refused before it is served, and the error names this reason",
        f"{refused} of {len(crafted)} refused",
        f"ONNX Runtime by itself: {len(crafted) - len(loaded)} of {len(crafted)} refused; it loads {outside} "
        "with external data",
        refused == len(crafted) and outside > 0,
    )


def damage(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Damage the files of a served artifact in every way."""
    with watched(artifacts / "pictures", scratch) as server:
        tried = harms(artifacts / "pictures")
        kept = sum(server.weathers(harm) for harm in tried.values())
    seen = 0
    for number, harm in enumerate(HARMS.values()):
        file = scratch / str(number)
        file.write_bytes(b"graph")
        before = file.stat()
        harm(file)
        seen += not file.exists() or file.stat().st_size != before.st_size
    return Finding(
        f"{len(tried)} ways to damage, replace or remove a file of a served artifact: each is named in "
        "/readyz and counted, and the server keeps what it has loaded",
        f"{kept} of {len(tried)}",
        f"a comparison of the files' sizes: {seen} of {len(HARMS)} detected",
        kept == len(tried) and seen < len(HARMS),
    )
