"""Every registered entry, from two training steps to a served picture; and the demo."""

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.imaging.codec import encode_png
from serving.launcher import serving
from serving.runtime.load import load
from serving.settings import Settings
from tests.conftest import FEW
from training.cli.demo import demo
from zoo import registry


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    """Serve artifacts: the server's address, and the folder of the runs and artifacts."""
    artifacts = request.getfixturevalue(request.param)
    log = tmp_path_factory.mktemp("journey") / "server.log"
    with serving(Settings(artifacts=artifacts), log) as url:
        yield url, artifacts.parent


@pytest.mark.parametrize("served", ["few_artifacts"], indirect=True)
@pytest.mark.parametrize("name", FEW)
def test_from_two_steps_to_a_served_picture(name, served):
    it_is_served(name, *served)


@pytest.mark.slow
@pytest.mark.parametrize("served", ["zoo_artifacts"], indirect=True)
@pytest.mark.parametrize("name", [name for name in registry.ENTRIES if name not in FEW])
def test_the_others_too(name, served):
    it_is_served(name, *served)


def it_is_served(name, url, root):
    record = [json.loads(line) for line in (root / "runs" / name / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in record] == [1, 2]
    assert all(line["samples_per_second"] > 0 for line in record)
    assert list((root / "runs" / name / "sheets").iterdir())

    manifest = httpx.get(f"{url}/v1/models/{name}").json()
    assert manifest["entry"] == name
    assert manifest["training"]["steps"] == 2

    match manifest["task"]:
        case "sample":
            it_samples(name, url, root)
        case "translate":
            it_translates(name, url, root)


def it_samples(name, url, root):
    body = {"n": 9, "seed": 100, "format": "npy"}
    answer = httpx.post(f"{url}/v1/models/{name}/sample", json=body)
    drawn = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert np.array_equal(drawn, load(root / "artifacts" / name).sample(9, seed=100))

    picture = httpx.post(f"{url}/v1/models/{name}/sample", json=body | {"format": "png"})
    with Image.open(io.BytesIO(picture.content)) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 32


def it_translates(name, url, root):
    """Whatever directions it has, over HTTP as by the artifact, in an image's own size or enlarged."""
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)
    body = encode_png(pixels)
    pipeline = load(root / "artifacts" / name)
    for direction in pipeline.inputs:
        answer = httpx.post(
            f"{url}/v1/models/{name}/translate",
            params={"direction": direction, "format": "npy"},
            content=body,
            headers={"Content-Type": "image/png"},
            timeout=30,
        )
        translated = np.load(io.BytesIO(answer.content), allow_pickle=False)
        scale = pipeline.manifest.graphs[direction].scale
        assert translated.shape == (1, scale * 37, scale * 50, 3)
        assert np.array_equal(translated, pipeline.translate(pixels[None], direction))


def test_the_demo_takes_the_whole_journey(tmp_path, capsys):
    demo(out=tmp_path, steps=3)
    said = capsys.readouterr().out
    assert str(tmp_path / "sheet.png") in said
    assert "ganzoo serve" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 34 + 2, 8 * 34 + 2)
    expected = load(tmp_path / "artifacts" / "glyphs").sample(1, seed=0)[0, :, :, 0]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.array_equal(np.asarray(sheet)[2:34, 2:34], expected)
