"""The command `demo`: train, export, serve and request images over HTTP in a few minutes."""

import shutil
import sys
from pathlib import Path

from serving.launcher import post, serving
from serving.settings import Settings
from serving.system.files import write_file


def demo(*, out: Path = Path("runs/demo"), steps: int = 2000) -> None:
    """Train a small DCGAN on drawn digits, export it, serve it and request images from the server.

    All files are written below one folder: `run/`, `artifacts/glyphs/` and `sheet.png`. Running the command
    again resumes the training.

    Args:
        out: Folder for all files of the demo.
        steps: Training steps; 2000 take about two minutes on two CPU cores.
    """
    artifact = _train(out, steps)
    with serving(Settings(artifacts=artifact.parent), out / "server.log") as url:
        print(f"3/4  serving at {url}; requesting 64 images", flush=True)
        png = post(f"{url}/v1/models/{artifact.name}/sample", {"n": 64, "seed": 0})
    sheet = out / "sheet.png"
    write_file(sheet, png)
    ganzoo = "ganzoo" if shutil.which("ganzoo") else f"{sys.prefix}/bin/ganzoo"
    print(
        f"4/4  wrote the server's images to {sheet}\n\n"
        f"Look at it, and at {out / 'run' / 'sheets'} for the progress of training. Then try:\n"
        f"  {ganzoo} serve --artifacts {artifact.parent}\n"
        f"  {ganzoo} train mlp-gan --data mnist --steps 10000 --out runs/mnist\n"
        f"  {ganzoo} list"
    )


def _train(out: Path, steps: int) -> Path:
    """Train and export the demo's generator, and return the artifact's folder."""
    from serving.runtime.artifact import read_manifest
    from training.api import export, train
    from training.artifacts.model_card import proofs
    from training.run.train_config import TrainConfig
    from zoo.models.dcgan import DCGAN

    # In a run of a few minutes training without a penalty is better; see zoo/README.md.
    entry = DCGAN(image_size=32, channels=1, width=32, objective="non_saturating", regularizer="none")
    config = TrainConfig(data="glyphs", steps=steps, sheet_every=500, out=out / "run")
    print(f"1/4  training dcgan on glyphs for {steps} steps", flush=True)
    run = train(entry, config)

    print("2/4  exporting to ONNX and checking the graph against PyTorch", flush=True)
    artifact = export(run, out / "artifacts" / "glyphs")
    manifest = read_manifest(artifact)
    for line in (*proofs(manifest), f"version {manifest.version}"):
        print(f"     {line}", flush=True)
    return artifact
