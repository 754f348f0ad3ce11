"""Requests per second of the server, compared with other servers on the same engine: a table of ratios.

    python -m tests.bench.serving

Every server is started on loopback and loaded by the same client, in turns. All servers run the same ONNX
file in ONNX Runtime: a DCGAN of 32x32 pixels with random weights. Only the server around it differs. The
other servers are BentoML with adaptive batching, LitServe and PyTriton, each set up as its documentation
says. LitServe and PyTriton have a separate virtual environment (`make bench-serving` creates it). Servers
that are not installed are left out.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from onnxruntime import InferenceSession

from serving.api.open_inference.tensors import HEADER_LENGTH
from serving.imaging.codec import encode_png
from serving.launcher import free_port, running, serve_command, serve_environment
from serving.runtime.latents import draw_latents
from serving.settings import Settings
from serving.system.cpu import cores
from tests.bench.export import artifact_of, in_new_process, pictures
from tests.bench.load import Load, request_bytes
from tests.bench.machine import describe_machine
from training.graphs.pixels import to_pixels
from zoo.models.dcgan import DCGAN
from zoo.models.translate.cyclegan import CycleGAN

Row = dict[str, Any]
ROUNDS = 3

SINGLE = "onnxruntime alone"

GRAPH = "generator.cpu.fp32.onnx"
"""The ONNX file that all servers run."""

SEEDS = range(0, 64 * 64, 64)
JSON = {"Content-Type": "application/json"}
PEERS = Path(".venv/peers/bin/python")
"""The Python of the environment with the other servers."""


@dataclass(frozen=True)
class Server:
    """How to start a server and what to send."""

    command: Callable[[int], list[str]]
    requests: Callable[[str, int, str], list[bytes]]
    """Make requests with many seeds, from the URL, the number of images per request and the format."""

    formats: tuple[str, ...]
    environment: dict[str, str]
    ready: str


def ours(url: str, n: int, kind: str) -> list[bytes]:
    """Make requests for our API, or for the Open Inference Protocol."""
    if kind == "translate":
        return [upload(f"{url}/v1/models/translator/translate", seed) for seed in range(8)]
    if kind == "v2":
        return tensors(url, "dcgan", n)
    bodies = (json.dumps({"seed": seed, "n": n, "format": kind}).encode() for seed in SEEDS)
    return [request_bytes("POST", f"{url}/v1/models/dcgan/sample", body, JSON) for body in bodies]


def stock(url: str, n: int, kind: str) -> list[bytes]:
    """Make requests for the BentoML service."""
    bodies = (json.dumps({"seed": seed, "n": n}).encode() for seed in SEEDS)
    return [request_bytes("POST", f"{url}/{kind}", body, JSON) for body in bodies]


def litserve(url: str, n: int, kind: str) -> list[bytes]:
    """Make requests for LitServe."""
    if kind == "translate":
        return [upload(f"{url}/predict", seed) for seed in range(8)]
    bodies = (json.dumps({"seed": seed, "n": n, "format": kind}).encode() for seed in SEEDS)
    return [request_bytes("POST", f"{url}/predict", body, JSON) for body in bodies]


def upload(url: str, seed: int) -> bytes:
    """Make a form request that translates a PNG of 128x128 pixels."""
    pixels = pictures(1, seed)[:, :, ::2, ::2]
    png = encode_png(to_pixels(pixels)[0].numpy())
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="i.png"\r\n'
    body = head + b"Content-Type: image/png\r\n\r\n" + png + b"\r\n--x--\r\n"
    return request_bytes("POST", url, body, {"Content-Type": "multipart/form-data; boundary=x"})


def tensors(url: str, model: str, n: int) -> list[bytes]:
    """Make requests for the Open Inference Protocol, with binary tensors."""
    made = []
    for seed in SEEDS:
        latents = draw_latents(100, list(range(seed, seed + n)))
        given = {"name": "latent", "shape": latents.shape, "datatype": "FP32"}
        given["parameters"] = {"binary_data_size": latents.nbytes}
        wanted = {"name": "output", "parameters": {"binary_data": True}}
        head = json.dumps({"inputs": [given], "outputs": [wanted]}).encode()
        headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        body = head + latents.tobytes()
        made.append(request_bytes("POST", f"{url}/v2/models/{model}/infer", body, headers))
    return made


def servers(artifacts: Path) -> Iterator[tuple[str, Server]]:
    """Yield the installed servers."""
    folder = artifacts / "dcgan"
    settings, ready = Settings(artifacts=artifacts, provider="cpu"), "/readyz"
    peer = {**os.environ, "PEER_GRAPH": str(folder / GRAPH), "PYTHONPATH": str(Path.cwd())}

    def command(port: int) -> list[str]:
        return serve_command("127.0.0.1", port)

    yield (
        "ours",
        Server(command, ours, ("npy", "v2", "png", "translate"), serve_environment(settings), ready),
    )
    many = dataclasses.replace(settings, workers=cores(), threads=1)
    yield (
        "ours, a process a core",
        Server(command, ours, ("npy", "v2", "png"), serve_environment(many), ready),
    )
    yield (
        "BentoML batching",
        Server(
            lambda port: [
                *(sys.executable, "-m", "bentoml", "serve", "tests.bench.peers.stock_bentoml:Stock"),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            stock,
            ("npy", "png"),
            {**peer, "BENTOML_DO_NOT_TRACK": "True"},
            ready,
        ),
    )
    if _installed("litserve"):
        pipeline = {"sample": folder / GRAPH, "translate": artifacts / "translator" / "a2b.cpu.fp32.onnx"}
        for task, formats in (("sample", ("npy", "png")), ("translate", ("translate",))):
            environment = peer | {"PEER_GRAPH": str(pipeline[task])}
            yield "LitServe", Server(_peer("litserve", task), litserve, formats, environment, "/health")
    if _installed("pytriton"):

        def triton(url: str, n: int, _: str) -> list[bytes]:
            return tensors(url, "generator", n)

        yield "PyTriton", Server(_peer("pytriton"), triton, ("v2",), peer, "/v2/health/ready")


def _peer(module: str, *options: str) -> Callable[[int], list[str]]:
    """Return a function from a port to the command that starts another server."""
    script = f"tests.bench.peers.{module}_server"
    return lambda port: [str(PEERS), "-m", script, str(port), *options]


def _installed(module: str) -> bool:
    """Return whether the environment of the other servers has a package."""
    if not PEERS.exists():
        return False
    return subprocess.run([PEERS, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the total CPU seconds of processes."""
    total = 0.0
    for each in processes:
        with contextlib.suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def limit(graph: Path, n: int, seconds: float) -> float:
    """Measure ONNX Runtime alone: the maximum images per second, in batches of 8 to 64, or of n if n > 1."""
    session, best = InferenceSession(graph, providers=["CPUExecutionProvider"]), 0.0
    sizes = (8, 16, 32, 64) if n == 1 else (n,)
    for rows in sizes:
        latents = {"latent": draw_latents(100, list(range(rows)))}
        session.run(None, latents)
        start, runs = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / len(sizes):
            session.run(None, latents)
            runs += 1
        best = max(best, runs * rows / (time.perf_counter() - start))
    return best


class Contestant(NamedTuple):
    """A running server."""

    name: str
    server: Server
    url: str
    process: psutil.Process

    @property
    def tree(self) -> list[psutil.Process]:
        """The server's processes."""
        return [self.process, *self.process.children(recursive=True)]

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Resume the server in a context and suspend it after: some servers use CPU time when idle."""
        for process in self.tree:
            process.resume()
        yield
        for process in self.tree:
            process.suspend()


@contextlib.contextmanager
def started(servers: Iterable[tuple[str, Server]], logs: Path) -> Iterator[list[Contestant]]:
    """Run servers in a context; each is suspended unless it is loaded."""
    with contextlib.ExitStack() as stack:
        contestants = []
        for name, server in servers:
            port = free_port()
            url, log = f"http://127.0.0.1:{port}", logs / f"{port}.log"
            up = running(server.command(port), url, log, server.environment, ready=server.ready)
            process = psutil.Process(stack.enter_context(up).pid)
            contestants.append(Contestant(name, server, url, process))
            with contestants[-1].awake():
                pass
        yield contestants
        all_processes = [process for each in contestants for process in each.tree]
        for process in all_processes:
            process.resume()
    for process in all_processes:  # some servers leave child processes behind
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def race(
    contestants: list[Contestant],
    kind: str,
    n: int,
    connections: int,
    seconds: float,
    graph: Path,
    rate: float | None = None,
) -> Iterator[Row]:
    """Load the servers in turns, three rounds each; yield one row per server, from its median round.

    For sampling, the engine alone is measured, too. With a rate, the load is open-loop: so many requests are
    due each second, even if the earlier ones have no response yet.
    """
    able = [each for each in contestants if kind in each.server.formats]
    loads = [Load(each.url, each.server.requests(each.url, n, kind), connections) for each in able]
    rounds: dict[str, list[Row]] = {each.name: [] for each in able}
    for _ in range(ROUNDS):
        for each, load in zip(able, loads, strict=True):
            with each.awake():
                load.closed(seconds / 4)
                rounds[each.name].append(turn(each, load, seconds, rate))
        if rate is None and kind != "translate":
            rounds.setdefault(SINGLE, []).append({"requests/s": limit(graph, n, seconds) / n})
    for name, rows in rounds.items():
        middle = sorted(rows, key=lambda row: row["requests/s"])[ROUNDS // 2]
        come = connections if rate is None else f"{rate:,.0f}/s"
        yield {"server": name, "format": kind, "n": n, "connections": come, **middle}


def turn(contestant: Contestant, load: Load, seconds: float, rate: float | None = None) -> Row:
    """Load one server; return the figures of the turn."""
    begin = cpu_seconds(contestant.tree)
    outcome = load.closed(seconds) if rate is None else load.open(seconds, rate)
    used = cpu_seconds(contestant.tree) - begin
    total = sum(outcome.statuses.values())
    return {
        "requests/s": outcome.rate,
        "p50": outcome.percentile(50),
        "p99": outcome.percentile(99),
        "cpu_ms": 1e3 * used / max(total, 1),
        "errors": total - outcome.statuses[200],
    }


PLAN = [(kind, 1, connections) for kind in ("npy", "v2") for connections in (1, 8, 32, 64)]
PLAN += [("png", 1, 8), ("png", 1, 64), ("npy", 64, 8), ("v2", 64, 8), ("png", 64, 8), ("translate", 1, 8)]
"""The loads: format, images per request, connections."""

OPEN, HALF = [("npy", 1, 64), ("v2", 1, 64)], 0.5
"""Loads that also run open-loop, at half the closed-loop rate of our server."""


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    heads = [
        "format",
        "n",
        "connections or rate",
        "server",
        "requests/s",
        "ours / this server",
        "this server / engine alone",
    ]
    lines = [[*heads, "p50 ms", "p99 ms", "CPU ms per request", "errors"], ["---"] * 11]
    for each in rows:
        rates = {other["server"]: other["requests/s"] for other in rows if _same(other, each)}
        mine, alone = rates.get("ours", math.nan), rates.get(SINGLE, math.nan)
        numbers = [f"{each['requests/s']:,.0f}", f"{mine / max(each['requests/s'], 0.1):.2f}"]
        numbers += [f"{each['requests/s'] / alone:.2f}"]
        numbers += [f"{each.get(key, math.nan):.1f}" for key in ("p50", "p99")]
        numbers += [f"{each.get('cpu_ms', math.nan):.2f}"]
        load = [each["format"], str(each["n"]), str(each["connections"]), each["server"]]
        lines.append([*load, *numbers, str(each.get("errors", ""))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("nan", "")


def _same(one: Row, other: Row) -> bool:
    return all(one[key] == other[key] for key in ("format", "n", "connections"))


def main() -> None:
    """Measure, write the table and the figures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds per turn")
    parser.add_argument("--servers", nargs="*", help="default: all that are installed")
    parser.add_argument("--formats", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/serving"))
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        in_new_process(artifact_of, DCGAN(channels=3, image_size=32, width=64), Path(place) / "dcgan")
        in_new_process(artifact_of, CycleGAN(translator="resnet-6", width=16), Path(place) / "translator")
        graph = Path(place) / "dcgan" / GRAPH
        plan = [each for each in PLAN if not asked.formats or each[0] in asked.formats]
        wanted = [
            (name, server) for name, server in servers(Path(place)) if name in (asked.servers or [name])
        ]
        with started(wanted, Path(place)) as contestants:
            for load in plan:
                more = list(race(contestants, *load, asked.seconds, graph))
                mine = next((row["requests/s"] for row in more if row["server"] == "ours"), 0.0)
                if load in OPEN and mine:
                    more += race(contestants, *load, asked.seconds, graph, HALF * mine)
                rows += more
                print(*more, sep="\n", flush=True)
    title = "Requests per second over HTTP: a DCGAN of 32x32 pixels, the same engine in every server"
    machine = describe_machine("bentoml", "onnxruntime-gpu")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine, "title": title, "rows": rows}
    asked.out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    text = f"# {title}\n\n{machine}\n\n{table(rows)}\n"
    asked.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
