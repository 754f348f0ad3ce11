"""Translation in tiles: equal to the whole where it must be, of one colour elsewhere, in bounded memory."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from serving import load
from serving.errors import UserError
from serving.offline.translate import translate
from serving.runtime import tiles
from serving.runtime.artifact import read_manifest
from serving.runtime.tiles import Rows, Tiling, shrunk
from training.cli.inference import open_model

STYLES = Path(__file__).parents[3] / "artifacts" / "cyclegan-glyphs-style"


def picture(height: int, width: int) -> np.ndarray:
    """Shapes of many colours on a gradient."""
    draws = np.random.default_rng([height, width])
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    image = Image.fromarray(np.repeat(np.broadcast_to(ramp, (height, width))[..., None], 3, 2).copy())
    brush = ImageDraw.Draw(image)
    for _ in range(height * width // 400):
        x, y, size = draws.integers(0, width), draws.integers(0, height), draws.integers(4, 20)
        brush.ellipse((x, y, x + size, y + size), fill=tuple(draws.integers(0, 256, 3).tolist()))
    return np.asarray(image)


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


@pytest.mark.parametrize("size", [(120, 150), (97, 301), (40, 90)])
def test_without_normalisation_tiles_are_the_whole(enlarger, size):
    larger = load(enlarger / "larger", provider="cpu")
    reach = larger.inputs["upscale"]["image"].reach
    given = picture(*size)
    whole = larger.translate(given)
    assert whole.shape == (2 * size[0], 2 * size[1], 3)
    assert difference(larger.rows(given, tile=4 * reach).gathered(), whole).max() <= 1


def test_tiles_that_see_less_are_blended(enlarger, monkeypatch):
    larger = load(enlarger / "larger", provider="cpu")
    spec = larger.inputs["upscale"]["image"]
    side = 3 * spec.reach
    tiling = Tiling.of(spec, 2, side)
    assert tiling.blend > 0
    whole = larger.translate(given := picture(100, 130))
    blended = difference(larger.rows(given, tile=side).gathered(), whole).mean()
    monkeypatch.setattr(Tiling, "of", lambda *arguments: dataclasses.replace(tiling, margin=0, blend=0))
    assert 2 * blended < difference(larger.rows(given, tile=side).gathered(), whole).mean(), "the control"


def test_with_normalisation_tiles_agree_in_colour():
    styles = load(STYLES, provider="cpu")
    given = picture(400, 480)
    whole = styles.translate(given, "a2b")
    tiled = styles.rows(given, "a2b", tile=256).gathered()
    alone = np.concatenate(  # the control: each tile has its own statistics
        [styles.translate(np.ascontiguousarray(part), "a2b") for part in np.split(given, 4, axis=1)], axis=1
    )
    assert tiled.shape == whole.shape
    assert difference(tiled, whole).mean() < difference(alone, whole).mean()
    seams = [120, 240, 360]

    def step(image):  # how much more the columns differ at the control's seams than elsewhere
        jumps = difference(image[:, 1:], image[:, :-1]).mean((0, 2))
        return np.mean([jumps[seam - 1] for seam in seams]) / np.median(jumps)

    assert step(tiled) < step(alone)


def test_large_images_are_tiled_by_themselves(enlarger, monkeypatch, capfd):
    larger = load(enlarger / "larger", provider="cpu")
    given = picture(200, 210)
    whole = larger.translate(given)
    assert "rows" not in capfd.readouterr().err
    monkeypatch.setattr(tiles, "WHOLE", 400 * 419)
    monkeypatch.setattr(tiles, "SIDE", 200)
    rows = larger.rows(given)
    assert isinstance(rows, Rows)
    assert rows.shape == whole.shape
    blocks = list(rows.blocks)
    assert len(blocks) > 1
    assert "translating upscale: 400/400 rows" in capfd.readouterr().err
    assert difference(np.concatenate(blocks), whole).max() <= 1
    assert difference(larger.translate(given[None])[0], whole).max() <= 1, "and without progress, in a batch"
    monkeypatch.setattr(tiles, "WHOLE", 400 * 420)
    assert len(list(larger.rows(given).blocks)) == 1


def test_the_shell_writes_the_same_pixels(enlarger, tmp_path):
    larger = load(enlarger / "larger", provider="cpu")
    Image.fromarray(given := picture(90, 70)).save(tmp_path / "given.png")
    translate(larger, tmp_path / "given.png", tmp_path / "out.png", tile=64)
    with Image.open(tmp_path / "out.png") as out:
        assert np.array_equal(np.asarray(out), larger.rows(given, tile=64).gathered())


def test_what_cannot_be_tiled_is_refused(enlarger, artifacts, runs, tmp_path):
    given = picture(64, 64)
    with pytest.raises(UserError, match="tile must be at least 4 for this model; got 3"):
        load(enlarger / "larger").rows(given, tile=3).gathered()
    with pytest.raises(UserError, match="a model in memory can't be run in tiles"):
        open_model(runs / "styles").rows(given, tile=64).gathered()
    manifest = json.loads((artifacts / "styles" / "manifest.json").read_text())
    for graph in manifest["graphs"].values():
        del graph["inputs"]["image"]["reach"]
    older = tmp_path / "older"
    older.mkdir()
    for file in (artifacts / "styles").iterdir():
        (older / file.name).write_bytes(file.read_bytes())
    (older / "manifest.json").write_text(json.dumps(manifest))
    assert load(older).translate(given).shape == given.shape
    with pytest.raises(UserError, match="an older version exported"):
        load(older).rows(given, tile=64).gathered()


@pytest.mark.slow
def test_every_translator_of_the_zoo_can_be_tiled_or_says_not(zoo_artifacts):
    for artifact in zoo_artifacts.iterdir():
        manifest = read_manifest(artifact)
        if manifest.task == "translate":
            for graph in manifest.graphs.values():
                assert graph.inputs["image"].reach > 0, artifact.name


@pytest.mark.parametrize("blend", [0, 8])
@pytest.mark.parametrize("length", [4, 60, 64, 68, 132, 400, 1024])
def test_the_windows_of_an_axis_have_one_length_and_fit_together(length, blend):
    tiling = Tiling(side=64, margin=16, blend=blend, multiple=4, least=4, scale=2)
    windows = tiling.windows(length)
    assert len({window.given.stop - window.given.start for window in windows}) == 1
    assert 0 == windows[0].given.start <= windows[-1].given.stop == length
    parts = [
        (2 * window.given.start + window.kept.start, 2 * window.given.start + window.kept.stop)
        for window in windows
    ]
    assert (parts[0][0], parts[-1][1]) == (0, 2 * length)
    for window, (_, end), (start, _), after in zip(windows, parts, parts[1:], windows[1:], strict=False):
        assert end - start == 4 * blend
        assert window.given.stop - end // 2 + blend >= 16, "the margins"
        assert start // 2 + blend - after.given.start >= 16
        assert window.given.stop - window.given.start <= 64


def test_a_closed_model_says_so(enlarger):
    with load(enlarger / "larger") as larger:
        pass
    with pytest.raises(UserError, match="larger is closed"):
        larger.rows(picture(64, 64), tile=64)


def test_an_image_is_reduced_by_its_means():
    image = np.zeros((10, 21, 1), np.uint8)
    image[:, 10:] = 200
    reduced = shrunk(image, 4)
    assert reduced.shape == (1, 3, 1)
    assert reduced[0, :, 0].tolist() == [0, round(200 * 2 / 6), 200]
    assert np.array_equal(shrunk(image, 21), image)
    assert shrunk(image, 4, 5).shape == (5, 10, 1), "not shorter than 5"
    assert shrunk(image, 1).shape == (1, 2, 1)


@pytest.mark.parametrize("size", [(1200, 9), (8, 900)])
def test_slender_images_are_tiled_too(enlarger, artifacts, size):
    given = picture(*size)
    styled = load(artifacts / "styles", provider="cpu").rows(given, tile=64).gathered()
    assert styled.shape == given.shape
    larger = load(enlarger / "larger", provider="cpu")
    assert difference(larger.rows(given, tile=64).gathered(), larger.translate(given)).max() <= 1


MEASURE = """
import re, sys
import numpy as np
from pathlib import Path
from serving import load
most = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
pipeline = load(sys.argv[1], provider="cpu", threads=1)
given = np.zeros((int(sys.argv[2]), int(sys.argv[2]), 3), np.uint8)
pipeline.translate(given[:64, :64])
before = most()
if sys.argv[3] == "whole":
    from serving.runtime import tiles
    tiles.WHOLE = 2**40
for block in pipeline.rows(given).blocks:
    assert block.shape[1] == 2 * len(given[0])
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_image(enlarger):
    def peak(side: int, how: str) -> int:
        command = [sys.executable, "-c", MEASURE, str(enlarger / "larger"), str(side), how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    added = 3 * (1600**2 - 800**2) / 1024
    smaller, larger = peak(800, "tiled"), peak(1600, "tiled")
    assert larger - smaller < 4 * added, "the image itself, and a few rows of its translation"
    assert peak(800, "whole") > 2 * smaller, "the control"
