"""Translators with grey images at one end and colour at the other, from the data to every place of use."""

import io
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import serving as public
from serving.imaging import codec
from serving.launcher import serving
from serving.runtime.artifact import read_manifest
from serving.settings import Settings
from tests.serving.test_playground import browser, file_of, open_page, seen  # noqa: F401 - fixtures
from tests.serving.test_playground import pixels as pixels_of
from tests.training.cli.test_main import ganzoo
from training.artifacts.evaluate import evaluate
from training.data.dataset import open_data
from training.evaluation.metrics import best_recolouring
from training.evaluation.translation.translated import unit
from training.evaluation.translation.translations import open_translation_scorer
from training.graphs.pixels import as_served
from zoo.entry import DomainShapes

pytestmark = pytest.mark.slow

SHAPES = DomainShapes((1, 32, 32), (3, 32, 32))
SMALL = ("--image-size", 32, 32, "--resize", 1, "--no-flip", "--discriminator-layers", 2, "--device", "cpu")
NARROW = ("--width", 8, "--discriminator-width", 8)

ENDS = {
    ("cycle", "a2b"): (1, 3),
    ("cycle", "b2a"): (3, 1),
    ("colour", "a2b"): (1, 3),
    ("uncolour", "b2a"): (3, 1),
}
"""Channels of the images and of the translations of each direction of a served model."""


def write_pairs(path, data, count):
    """Write pairs as two folders of a zip file, grey PNGs in A and colour PNGs in B."""
    batch = data.batch(0, count)
    with zipfile.ZipFile(path, "w") as file:
        for letter, images in zip("AB", (as_served(batch["a"]), as_served(batch["b"])), strict=True):
            for index, pixels in enumerate(images):
                file.writestr(f"{letter}/{index}.png", codec.encode_png(pixels))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs and artifacts of three translators of grey and colour; `colour` is trained to some use."""
    root = tmp_path_factory.mktemp("colouring")
    write_pairs(root / "pairs.zip", open_data("glyphs-pairs", SHAPES, 0), 300)
    pairs, grey = ("--data", f"paired:{root / 'pairs.zip'}", *SMALL), ("--channels-a", 1)
    unet, few = ("--translator", "unet-32"), (*NARROW, "--steps", 3)
    wide = ("--width", 16, "--discriminator-width", 16, "--batch-size", 8, "--steps", 250)
    learning = ("--learning-rate", 0.002, "--ema", 0.98)
    scored = ("--score-every", 2, "--score-samples", 8)
    for name, entry, options in (
        ("cycle", "cyclegan", (*few, *scored, "--translator", "resnet-6")),
        ("uncolour", "pix2pix", (*few, *scored, *unet, "--direction", "b2a")),
        ("colour", "pix2pix", (*wide, *unet, *learning)),
    ):
        assert ganzoo("train", entry, *pairs, *grey, *options, "--out", root / "runs" / name) == 0
        artifact, smaller = root / "artifacts" / name, ("fp16", "int8") if name == "colour" else ("fp16",)
        assert ganzoo("export", root / "runs" / name, artifact, "--precision", *smaller) == 0
    return root


@pytest.fixture(scope="module")
def url(made, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serving(Settings(artifacts=made / "artifacts", provider="cpu"), log) as address:
        yield address


@pytest.fixture(scope="module")
def truth():
    """Grey characters that no training had, and the same in colour: uint8 (N, H, W, C)."""
    batch = open_data("glyphs-pairs", SHAPES, 1).held_out().batch(0, 24)
    return as_served(batch["a"]), as_served(batch["b"])


def image_of(channels, height=37, width=50):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def post(url, model, direction, data, **query):
    answer = httpx.post(
        f"{url}/v1/models/{model}/translate",
        params={"direction": direction, **query},
        content=data,
        headers={"Content-Type": "image/png"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_grey_picture_is_coloured_over_http(url, truth):
    """Nearer to the true colours than the grey picture is, and than its best tint. Both are controls."""
    grey, colour = truth
    coloured = []
    for pixels in grey:
        answer = post(url, "colour", "a2b", codec.encode_png(pixels), format="png")
        with Image.open(io.BytesIO(answer)) as image:
            assert image.mode == "RGB"
            coloured.append(np.asarray(image))
    tint = best_recolouring([(unit(grey), unit(colour))])
    distance, of_tint, of_grey = (
        (images - unit(colour)).abs().mean().item()
        for images in (unit(np.stack(coloured)), tint(unit(grey)), unit(grey))
    )
    print(f"L1: coloured {distance:.4f}, tinted {of_tint:.4f}, grey {of_grey:.4f}")
    assert distance < 0.8 * of_tint < of_tint < of_grey


@pytest.mark.parametrize(("model", "direction"), ENDS)
@pytest.mark.parametrize("given", [1, 3])
def test_every_format_has_the_channels_of_the_target(model, direction, given, url, made):
    """Whatever the image sent has, which is converted to those of the source."""
    source, target = ENDS[model, direction]
    pixels = image_of(given)
    with public.load(made / "artifacts" / model) as loaded:
        wanted = loaded.translate(pixels, direction)
        assert wanted.shape == (37, 50, target)
        batch = loaded.translate(np.stack([image_of(source)] * 2), direction)
        assert batch.shape == (2, 37, 50, target)
    data = codec.encode_png(pixels)
    array = np.load(io.BytesIO(post(url, model, direction, data, format="npy")))
    assert np.array_equal(array, wanted[None])
    for kind, modes in {"png": ("L", "RGB"), "jpeg": ("L", "RGB"), "webp": ("RGB", "RGB")}.items():
        with Image.open(io.BytesIO(post(url, model, direction, data, format=kind))) as image:
            assert (image.format, image.mode) == (kind.upper(), modes[target == 3])
            assert image.size == (50, 37)
    with zipfile.ZipFile(io.BytesIO(post(url, model, direction, data, format="zip"))) as file:
        member = codec.decode(file.read(f"{direction}.png"), target)
    assert np.array_equal(member, wanted)
    with public.Client(f"{url}/v1/models/{model}") as client:
        assert np.array_equal(client.translate(pixels, direction), wanted)


@pytest.mark.parametrize(("model", "direction"), ENDS)
def test_the_shell_and_the_open_inference_protocol_agree(model, direction, url, made, tmp_path):
    source, target = ENDS[model, direction]
    pixels = image_of(source, 32, 64)
    (tmp_path / "in.png").write_bytes(codec.encode_png(pixels))
    for place, most in ((made / "artifacts" / model, 0), (made / "runs" / model, 1)):
        out = tmp_path / "out.png"
        assert ganzoo("translate", place, tmp_path / "in.png", out, "--direction", direction) == 0
        with public.load(made / "artifacts" / model) as loaded:
            wanted = loaded.translate(pixels, direction)
        found = codec.decode(out.read_bytes(), target)
        assert np.abs(found.astype(int) - wanted).max() <= most
    name = f"{model}.{direction}" if model == "cycle" else model
    about = httpx.get(f"{url}/v2/models/{name}").json()
    assert (about["inputs"][0]["shape"][3], about["outputs"][0]["shape"][3]) == (source, target)
    tensor = {"name": "image", "shape": [1, 32, 64, source], "datatype": "UINT8"}
    body = {"inputs": [tensor | {"data": pixels.reshape(-1).tolist()}]}
    (output,) = httpx.post(f"{url}/v2/models/{name}/infer", json=body).json()["outputs"]
    assert output["shape"] == [1, 32, 64, target]
    assert output["data"] == wanted.reshape(-1).tolist()


def test_sheets_show_grey_beside_colour(made):
    """An image, its translation, and for both directions the way back; six of each."""
    for model, graph, columns in (("cycle", "a2b", 3), ("cycle", "b2a", 3), ("colour", "a2b", 2)):
        for sheet in (
            made / "artifacts" / model / f"{graph}.png",
            next((made / "runs" / model / "sheets").glob(f"*{graph}.png")),
        ):
            with Image.open(sheet) as image:
                assert image.mode == "RGB"
                assert image.width == 2 * columns * 34 + 2


def test_scores_have_their_controls(made):
    """With pairs the truth is known; the grey control is the source in the target's channels."""
    evaluation = evaluate(made / "artifacts" / "colour", "glyphs-pairs", n=40)
    untranslated, recoloured = (
        evaluation.controls[name]["a2b_l1"] for name in ("untranslated", "recoloured")
    )
    assert evaluation.scores["a2b_l1"] < recoloured < untranslated
    for model, scores in (
        ("cycle", {"a2b_cycle", "b2a_cycle", "a2b_l1", "b2a_l1"}),
        ("uncolour", {"b2a_l1"}),
    ):
        assert scores <= evaluate(made / "artifacts" / model, "glyphs-pairs", n=8).scores.keys()
        lines = (made / "runs" / model / "metrics.jsonl").read_text()
        assert '"l1"' in lines, "scored during the run"
    scorer = open_translation_scorer("glyphs-pairs", SHAPES, 8, "auto", "cpu")
    assert scorer.controls["untranslated"].keys() == scorer.controls["recoloured"].keys()


def test_the_manifest_says_it(made):
    manifest = read_manifest(made / "artifacts" / "cycle")
    assert (manifest.hyperparameters["channels_a"], manifest.hyperparameters["channels_b"]) == (1, 3)
    for (model, direction), (source, target) in ENDS.items():
        graph = read_manifest(made / "artifacts" / model).graphs[direction]
        assert (graph.inputs["image"].size, graph.output.size) == (source, target)
    with public.load(made / "artifacts" / "cycle") as loaded:
        assert "a2b: images (H, W, 1) to (H, W, 3); b2a: images (H, W, 3) to (H, W, 1)" in repr(loaded)
    assert ganzoo("verify", made / "artifacts" / "cycle") == 0


def test_the_playground_translates_both_ways(open_page, url):  # noqa: F811 - the fixture
    page = open_page("/?model=cycle")
    expect(page.locator("body")).to_contain_text("32\u00d732 greyscale to RGB")
    data = codec.encode_png(image_of(3))
    page.get_by_label("Choose an image").set_input_files(file_of(data))
    for direction, label in (("a2b", "a \u2192 b"), ("b2a", "b \u2192 a")):
        page.get_by_label(label).check()
        expect(page.get_by_text(f"Translated {label} in")).to_be_visible()
        translated = post(url, "cycle", direction, data, format="png")
        assert seen(page.get_by_alt_text("Translated image")) == pixels_of(translated)
    page.get_by_role("button", name="Translate back").click()
    expect(page.get_by_text("Translated a \u2192 b in")).to_be_visible()
    there_and_back = post(url, "cycle", "a2b", translated, format="png")
    assert seen(page.get_by_alt_text("Translated image")) == pixels_of(there_and_back)
