"""Identification: images of every way of making them are found to be their model's, and others are not."""

import base64
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from serving.imaging import codec
from serving.imaging.provenance import Maker, Provenance, read_provenance
from serving.offline.identify import identify
from serving.offline.sample import write_samples
from serving.offline.translate import translate
from serving.runtime.load import load
from serving.runtime.pipeline import Pipeline
from serving.settings import Settings
from tests.serving.api.asking import app_of, asker, noise, png

SAMPLES, WALKS, SAMPLE_SHEET = (
    {"seed": 5, "label": "B", "truncation": 0.5},
    {"seeds": [3, 9], "n": 3},
    {"n": 4},
)


def verdict(data: bytes | Path, artifacts: Path, folder: Path, source: Path | None = None) -> str:
    path = data if isinstance(data, Path) else folder / "image"
    if isinstance(data, bytes):
        path.write_bytes(data)
    return dict(identify(path, source, artifacts))["drawn again"]


@pytest.fixture(scope="module")
def ask(artifacts):
    return asker(app_of(Settings(artifacts=artifacts, provider="cpu")))


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("body", [SAMPLES, SAMPLE_SHEET | SAMPLES, {"seed": 4, "n": 7}])
def test_samples_over_http(ask, artifacts, tmp_path, form, body):
    answer = ask("POST", "/v1/models/classes/sample", json=body | {"format": form})
    assert verdict(answer.content, artifacts, tmp_path) == "yes: the pixels are equal"
    said = read_provenance(answer.content)
    assert json.loads(answer.headers["x-provenance"]) == said.to_dict()
    assert said.maker.model == "classes"
    assert said.request["seed"] == body["seed"]


def test_images_in_archives_and_json(ask, artifacts, tmp_path):
    for path, body in (("sample", SAMPLE_SHEET | SAMPLES), ("interpolate", WALKS)):
        archive = ask("POST", f"/v1/models/classes/{path}", json=body | {"format": "zip"}).content
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            images = [files.read(name) for name in files.namelist()]
        content = ask("POST", f"/v1/models/classes/{path}", json=body | {"format": "json"}).json()
        assert [base64.b64decode(image) for image in content["images"]] == images
        assert content["provenance"]["request"].items() >= {"n": body["n"]}.items()
        for image in images:
            assert verdict(image, artifacts, tmp_path) == "yes: the pixels are equal"
        assert len({str(read_provenance(image).request) for image in images}) == len(images)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_walks(ask, artifacts, tmp_path, form):
    answer = ask("POST", "/v1/models/pictures/interpolate", json=WALKS | {"format": form})
    assert verdict(answer.content, artifacts, tmp_path) == "yes: the pixels are equal"


def test_the_image_of_a_seed_is_that_of_the_request_and_of_the_shell(ask, artifacts, tmp_path):
    image = ask("GET", "/v1/models/classes/samples/5.png?label=B&truncation=0.5").content
    assert image == ask("POST", "/v1/models/classes/sample", json=SAMPLES | {"label": 1}).content
    assert verdict(image, artifacts, tmp_path) == "yes: the pixels are equal"
    pipeline = load(artifacts / "classes", provider="cpu")
    write_samples(pipeline, 1, 5, tmp_path / "out.png", "B", truncation=0.5)
    write_samples(pipeline, 2, 5, tmp_path / "out.tar", "1", truncation=0.5)
    write_samples(pipeline, 2, 5, tmp_path / "out", "B", truncation=0.5)
    assert (tmp_path / "out.png").read_bytes() == image
    assert (tmp_path / "out" / "000005.png").read_bytes() == image
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.extractfile("0000000000000005.png").read() == image


def test_translations_need_their_source(ask, artifacts, tmp_path):
    source = tmp_path / "source.png"
    source.write_bytes(png(noise(40, 56)))
    answer = ask(
        "POST", "/v1/models/styles/translate", files={"image": source.read_bytes()}, data={"direction": "b2a"}
    )
    assert "add --source" in verdict(answer.content, artifacts, tmp_path)
    assert verdict(answer.content, artifacts, tmp_path, source) == "yes: the pixels are equal"
    translate(load(artifacts / "styles", provider="cpu"), source, tmp_path / "out.png", "b2a", tile=24)
    assert read_provenance((tmp_path / "out.png").read_bytes()).request == {"direction": "b2a", "tile": 24}
    assert verdict(tmp_path / "out.png", artifacts, tmp_path, source) == "yes: the pixels are equal"
    source.write_bytes(png(noise(40, 57)))
    assert verdict(answer.content, artifacts, tmp_path, source) == (
        "no: its model draws an image of another size"
    )


def test_changed_pixels_and_other_requests_are_found(artifacts, tmp_path):
    pipeline = load(artifacts / "pictures", provider="cpu")
    pixels, said = pipeline.sample(1, seed=8)[0].copy(), pipeline.provenance.of(seed=8)
    assert verdict(codec.encode_png(pixels, said), artifacts, tmp_path) == "yes: the pixels are equal"
    other = codec.encode_png(pixels, pipeline.provenance.of(seed=9))
    assert verdict(other, artifacts, tmp_path).startswith("no: the pixels differ by up to")
    pixels[3, 4] ^= 1
    near = "yes: the pixels differ by at most 1 of 255 levels"
    assert verdict(codec.encode_png(pixels, said), artifacts, tmp_path) == near
    pixels[3, 4] ^= 128
    assert verdict(codec.encode_png(pixels, said), artifacts, tmp_path).startswith("no: the pixels differ")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "the file does not say what the image was made from"),
        ({"seed": 1, "n": 10**12}, "a request must have at most as many images as pixels, 768; got"),
        ({"seed": 1, "n": 0}, "does not know the request"),
        ({"seed": 1, "other": 0}, "does not know the request"),
        ({"seed": "1"}, "does not know the request"),
        ({"seed": -1}, "seeds must be from 0 to"),
        ({"seed": 1, "label": "B"}, "this model has no classes"),
        ({"seeds": [1], "n": 3}, "seeds must have at least 2 items"),
        ({"direction": "a2b"}, "add --source"),
    ],
)
def test_a_request_that_can_not_be_drawn_is_said_so(artifacts, tmp_path, request_, reason):
    pipeline = load(artifacts / "pictures", provider="cpu")
    said = Provenance(pipeline.provenance.maker, request_)
    found = verdict(codec.encode_png(pipeline.sample(1)[0], said), artifacts, tmp_path)
    assert found.startswith("not known: ")
    assert reason in found


def test_what_no_artifact_has_made(artifacts, tmp_path):
    said = Provenance(Maker.of("pictures", "0" * 12, "sample"), {"seed": 1})
    image = codec.encode_png(noise(16, 16), said)
    assert verdict(image, artifacts, tmp_path) == "not known: there is no artifact of this version"
    (tmp_path / "image").write_bytes(png(noise(16, 16)))
    assert dict(identify(tmp_path / "image")) == {"says": "nothing of a model that made it"}
    (tmp_path / "image").write_bytes(image[:-30])
    artifact = load(artifacts / "pictures", provider="cpu")
    said = Provenance(artifact.provenance.maker, {"seed": 1})
    (tmp_path / "image").write_bytes(codec.encode_png(noise(16, 16), said)[:-300])
    with pytest.raises(UserError, match="the image can't be decoded"):
        list(identify(tmp_path / "image", None, artifacts))


def test_arrays_say_it_beside_them(ask, artifacts, tmp_path):
    pipeline = load(artifacts / "points", provider="cpu")
    write_samples(pipeline, 3, 5, tmp_path / "out.npy")
    said = json.loads((tmp_path / "out.npy.json").read_text())
    assert said == pipeline.provenance.of(seed=5, n=3).to_dict()
    answer = ask("POST", "/v1/models/points/sample", json={"seed": 5, "n": 3, "format": "npy"})
    assert json.loads(answer.headers["x-provenance"]) == said
    body = {"inputs": [{"name": "latent", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1.0]}]}
    answer = ask("POST", "/v2/models/points/infer", json=body)
    assert json.loads(answer.headers["x-provenance"]) == pipeline.provenance.to_dict()


def silent(pipeline: Pipeline, folder: Path) -> set[str]:
    """The names of the files that say something."""
    write_samples(pipeline, 2, 0, folder / "out.png")
    write_samples(pipeline, 2, 0, folder / "out.npy")
    write_samples(pipeline, 2, 0, folder / "out", folder_format="png")
    found = {path.name for path in folder.rglob("*.json")} - {"plan.json"}
    return found | {path.name for path in folder.rglob("*.png") if read_provenance(path.read_bytes())}


def test_it_can_be_turned_off(artifacts, tmp_path, monkeypatch):
    assert silent(load(artifacts / "pictures", provenance=False), tmp_path / "a") == set()
    monkeypatch.setenv("GANZOO_PROVENANCE", "off")
    assert silent(load(artifacts / "pictures"), tmp_path / "b") == set()
    names = {"out.png", "out.npy.json", "000000.png", "000001.png"}
    assert silent(load(artifacts / "pictures", provenance=True), tmp_path / "c") == names
    with pytest.raises(UserError, match="provenance True instead of False"):
        silent(load(artifacts / "pictures"), tmp_path / "c")
    settings = Settings(artifacts=artifacts, provider="cpu", provenance=False)
    answer = asker(app_of(settings))("POST", "/v1/models/pictures/sample", json={"seed": 1})
    assert read_provenance(answer.content) is None
    assert "x-provenance" not in answer.headers
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.array_equal(np.asarray(image), load(artifacts / "pictures").sample(1, seed=1)[0, ..., 0])
