"""A demo of a few minutes: train, export, serve and request images over HTTP."""

import shutil
import sys
from pathlib import Path

from serving.launcher import post, serving
from serving.settings import Settings
from serving.system.files import write_file
from training.artifacts.export import export
from training.artifacts.model_card import proofs
from training.loop.train import train
from training.run.config import RunConfig, TrainConfig
from zoo.models.dcgan import DCGAN


def demo(folder: Path, steps: int) -> None:
    """Train a small DCGAN on glyphs, export it, serve it and write a sheet of images from the server.

    All files are written below the folder: `run/`, `artifacts/glyphs/` and `sheet.png`. Running it again
    resumes the training.

    Raises:
        UserError: the folder holds another run.
        OSError: the server did not start.
    """
    # In a run of a few minutes training without a penalty is better; see zoo/README.md.
    entry = DCGAN(image_size=32, channels=1, width=32, objective="non_saturating", regularizer="none")
    run = TrainConfig(data="glyphs", steps=steps, sheet_every=500, out=folder / "run")
    print(f"1/4  training dcgan on glyphs for {steps} steps", flush=True)
    train(RunConfig(name="dcgan", entry=entry, train=run))

    print("2/4  exporting to ONNX, held against PyTorch", flush=True)
    manifest = export(folder / "run", folder / "artifacts" / "glyphs")
    for line in (*proofs(manifest), f"version {manifest.version}"):
        print(f"     {line}", flush=True)

    with serving(Settings(artifacts=folder / "artifacts"), folder / "server.log") as url:
        print(f"3/4  serving at {url}; asking for 64 pictures", flush=True)
        png = post(f"{url}/v1/models/glyphs/sample", {"n": 64, "seed": 0})

    sheet = folder / "sheet.png"
    write_file(sheet, png)
    ganzoo = "ganzoo" if shutil.which("ganzoo") else f"{sys.prefix}/bin/ganzoo"
    print(
        f"4/4  the server drew {sheet}\n\n"
        f"Look at it, and at {folder / 'run' / 'sheets'} for how it came about. Then:\n"
        f"  {ganzoo} serve --artifacts {folder / 'artifacts'}\n"
        f"  {ganzoo} train mlp-gan --data mnist --steps 10000 --out runs/mnist\n"
        f"  {ganzoo} list"
    )
