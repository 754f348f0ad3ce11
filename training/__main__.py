"""The command line `ganzoo`: verbs with flags made from signatures and dataclasses; others do the work."""

import dataclasses
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg
from tyro.extras import SubcommandApp

from serving.runtime.manifest import Precision
from serving.settings import Settings
from training.cli.errors import status
from zoo import registry


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a mistake of the user's is one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["train"] and arguments[1:] and not arguments[1].startswith("-"):
            _train(arguments[1], arguments[2:])
        else:
            # Only the server's own verb minds the server's environment.
            settings = Settings.from_environment() if arguments[:1] == ["serve"] else Settings()
            _verbs(settings).cli(prog="ganzoo", args=arguments, config=(OmitArgPrefixes,))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return status(error)
    return 0


def _train(name: str, arguments: list[str]) -> None:
    """Train an entry by name; its own fields are flags beside the run's."""
    from training.cli.train import parse
    from training.loop.train import train

    card, dry_run = parse(name, arguments)
    if dry_run:
        print(card.to_json())
        return
    if folder := train(card):
        print(folder)


def list_entries(*, pretrained: bool = False, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """List the entries of the zoo.

    Args:
        pretrained: List the trained artifacts that come with it instead, and how good they are.
        as_json: Print JSON instead of a table.
    """
    if pretrained:
        _list_pretrained(as_json)
        return
    entries = [
        {"name": name, "path": path, "summary": registry.summary(name)}
        for name, path in registry.ENTRIES.items()
    ]
    if as_json:
        print(json.dumps(entries, indent=2))
        return
    width = max(map(len, registry.ENTRIES))
    for entry in entries:
        print(f"{entry['name']:{width}}  {entry['summary']}")


def _list_pretrained(as_json: bool) -> None:
    from training.artifacts.pretrained import pretrained, table

    rows = pretrained()
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def train(entry: Positional[str]) -> None:
    """Train an entry; `ganzoo train ENTRY --help` tells its flags.

    The same command again resumes; SIGINT and SIGTERM save first.

    Args:
        entry: A name of `ganzoo list`, or an import path such as my_lab.wgan:WGAN.
    """
    _train(entry, [])


def sample(
    source: Positional[Path],
    *,
    n: int = 64,
    seed: int = 0,
    label: str | None = None,
    out: Path = Path("samples.png"),
    shards: int | None = None,
    ray: bool = False,
) -> None:
    """Draw samples from a run or an artifact.

    Args:
        source: The run's folder, or the artifact's.
        n: How many.
        seed: Sample i is that of seed + i, the one that the server gives for it too.
        label: Name or number of their class, for a conditional model; by default the classes take turns.
        out: Where to: .png, a sheet or a plot; .npy, the array; .tar, a file each; or a folder, tars of
            many, which the same command again goes on with.
        shards: Samples in each tar of a folder; by default 10000.
        ray: Have a folder written by a Ray cluster: that of RAY_ADDRESS, or one on this machine.
    """
    from serving.offline.sample import draw

    draw(source, n, seed, out, label, shards, ray)
    print(out)


def export(
    run: Positional[Path],
    artifact: Positional[Path | None] = None,
    *,
    precision: tuple[Literal["fp16", "int8"], ...] = (),
) -> None:
    """Make an artifact of a run: ONNX graphs held against PyTorch, and their manifest.

    Args:
        run: The run's folder.
        artifact: Where to; by default artifacts/NAME, NAME being that of the run's folder.
        precision: Smaller types that the graphs are to be there in too: fp16, for CUDA; int8, for the CPU,
            calibrated on the run's data.
    """
    from training.artifacts.export import export
    from training.artifacts.model_card import proofs

    folder = artifact or Path("artifacts") / run.resolve().name
    for line in proofs(export(run, folder, precision)):
        print(folder / line)


def validate_data(
    data: Positional[str],
    *,
    image_size: int | None = None,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Look through data: count what they hold, name every file that can't be used, warn of what is doubtful.

    Args:
        data: What to look through, as for a run.
        image_size: Side of the images to train with, to which smaller ones are upscaled; by default 64, or
            256 where they are translated.
        as_json: Print JSON instead of a table.
    """
    from training.data.validate import table, validate

    findings = validate(data, image_size)
    print(json.dumps(dataclasses.asdict(findings), indent=2) if as_json else table(findings))
    findings.must_be_usable()


def verify(artifact: Positional[Path]) -> None:
    """Check an artifact again: its hashes, its graphs, and that they still give what PyTorch gave.

    Args:
        artifact: The artifact's folder.
    """
    from training.artifacts.verify import verify

    for line in verify(artifact):
        print(line)


def translate(
    source: Positional[Path],
    images: Positional[Path],
    out: Positional[Path],
    *,
    direction: str | None = None,
) -> None:
    """Translate an image, or every image of a folder, by a run or an artifact.

    Args:
        source: The run's folder, or the artifact's.
        images: An image of any size, or a folder of them.
        out: Where to: a .png, or a folder, of the same sizes.
        direction: a2b or b2a; by default the first that there is.
    """
    from serving.offline.translate import translate

    translate(source, images, out, direction)
    print(out)


def import_weights(
    entry: Positional[Literal["cyclegan"]],
    weights: Positional[tuple[Path, ...]],
    *,
    artifact: Path,
) -> None:
    """Make an artifact of weights that were trained elsewhere, without running anything that is in them.

    Args:
        entry: Whose: cyclegan, in the layout of the original PyTorch code (resnet_9blocks, resnet_6blocks).
        weights: Files of state dicts: of the generator from a to b, and of the one back where there is one.
        artifact: Where to.
    """
    from training.artifacts.import_weights import import_cyclegan

    import_cyclegan(weights, artifact)
    print(artifact)


def evaluate(
    artifact: Positional[Path],
    *,
    data: str,
    n: int = 10_000,
    seed: int = 0,
    features: Literal["auto", "classifier", "inception"] = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Score what an artifact makes against data; the scores go into its manifest.

    Args:
        artifact: The artifact's folder.
        data: What to compare with, as for a run; held-out examples of it make the controls.
        n: How many samples, and as many real ones; or images of either domain to translate.
        seed: Of the first sample.
        features: What images are compared by: a small classifier that is trained where the data have labels,
            Inception, or auto, the classifier where it can be.
        device: Where the features are extracted: auto, cpu, cuda, ...
        precision: Of the graphs that are scored: fp32, or what they were exported in too.
        as_json: Print JSON instead of a table.
    """
    from training.artifacts.evaluate import evaluate, table

    evaluation = evaluate(artifact, data, n, seed, features, device, precision)
    print(evaluation.model_dump_json(indent=2) if as_json else table(evaluation))


def compare(runs: Positional[list[Path]], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """Compare finished runs that were scored as they went (`--score-every`), a row for each method.

    Args:
        runs: The runs' folders; those that differ by nothing but their seeds share a row, and the first says
            what the others are measured by.
        as_json: Print JSON instead of a table.
    """
    from training.evaluation.compare import compare, table

    rows = compare(runs)
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve every artifact of a folder; `bentoml serve serving.service:GANZoo` is the same.

    Args:
        settings: Each is also an environment variable, GANZOO_ARTIFACTS for --artifacts and so on.
        host: Address to listen on; 0.0.0.0 is every one of this machine.
        port: TCP port to listen on.
    """
    from serving.launcher import serve_command, serve_environment

    command = serve_command(host, port)
    os.execve(command[0], command, serve_environment(settings))


def demo(*, out: Path = Path("runs/demo"), steps: int = 2000) -> None:
    """Train a small DCGAN on drawn digits, export it, serve it, and ask the server for pictures.

    Args:
        out: Where everything lands.
        steps: Rounds of updates; 2000 take about two minutes on two CPU cores.
    """
    from training.cli.demo import demo

    demo(out, steps)


def _verbs(settings: Settings) -> SubcommandApp:
    """Gather the verbs; their signatures and docstrings are the flags and the help."""
    app = SubcommandApp()
    app.command(name="list")(list_entries)
    for verb in (train, sample, translate, export, verify, evaluate, compare):
        app.command(verb)
    app.command(name="validate-data")(validate_data)
    app.command(name="import")(import_weights)
    app.command(name="serve")(functools.partial(serve, settings=settings))
    app.command(demo)
    return app


if __name__ == "__main__":
    sys.exit(main())
