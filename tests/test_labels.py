"""The names of classes, from the folders of somebody's pictures to everything that draws a class."""

import io
import json
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import serving as public
from serving.launcher import serving
from serving.settings import Settings
from tests.serving.test_playground import browser, open_page, pictures, pixels  # noqa: F401 - fixtures
from tests.training.cli.test_main import ganzoo

NAMES = ["class 2", "class 10", "größte  Blüte", "l'été & co", "赤い 狐"]
"""As folders are named: with spaces, also two, quotes and letters of other scripts, in people's order."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run and an artifact of a folder of named classes, which the commands have made."""
    root = tmp_path_factory.mktemp("labels")
    for number, name in enumerate(reversed(NAMES)):
        (root / "pictures" / name).mkdir(parents=True)
        for index in range(8):
            image = Image.new("RGB", (16, 16), (40 * number, 10 * index, 200))
            image.save(root / "pictures" / name / f"{index}.png")
    small = ("--image-size", 16, "--width", 4, "--latent-size", 8, "--batch-size", 8, "--steps", 3)
    run = ("--data", f"folder:{root / 'pictures'}", "--out", root / "run", "--device", "cpu")
    assert ganzoo("train", "cdcgan", *small, *run) == 0
    assert ganzoo("export", root / "run", root / "artifacts" / "named") == 0
    return root


@pytest.fixture(scope="module")
def url(made, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serving(Settings(artifacts=made / "artifacts", provider="cpu"), log) as address:
        yield address


@pytest.fixture(scope="module")
def model(made):
    with public.load(made / "artifacts" / "named") as loaded:
        yield loaded


def test_the_run_and_the_artifact_have_the_names(made, url):
    run = json.loads((made / "run" / "run.json").read_text())
    assert (run["labels"], run["hyperparameters"]["classes"]) == (NAMES, 5)
    manifest = json.loads((made / "artifacts" / "named" / "manifest.json").read_text())
    assert manifest["labels"] == NAMES
    assert httpx.get(f"{url}/v1/models/named").json()["labels"] == NAMES
    (summary,) = httpx.get(f"{url}/v1/models").json()["models"]
    assert summary["labels"] == NAMES
    card = (made / "artifacts" / "named" / "README.md").read_text()
    assert all(name in card for name in NAMES)


def test_a_row_of_a_runs_sheet_is_a_class(made, model):
    """The control: another class in its place would be another row."""
    (sheet,) = (made / "run" / "sheets").glob("*3-generator.png")
    with Image.open(sheet) as image:
        assert image.height == len(NAMES) * 18 + 2
    drawn = [model.sample(1, label=name) for name in NAMES]
    assert len({each.tobytes() for each in drawn}) == len(NAMES)


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_every_way_of_asking_for_a_name_draws_the_same(number, made, model, url, tmp_path):
    name = NAMES[number]
    wanted = model.sample(3, seed=5, label=number)
    assert np.array_equal(model.sample(3, seed=5, label=name), wanted)
    with public.Client(f"{url}/v1/models/named") as client:
        assert np.array_equal(client.sample(3, seed=5, label=name), wanted)
        assert list(client.labels) == NAMES
    body = {"n": 3, "seed": 5, "label": name, "format": "npy"}
    answer = httpx.post(f"{url}/v1/models/named/sample", json=body)
    assert np.array_equal(np.load(io.BytesIO(answer.content)), wanted)
    one = httpx.get(f"{url}/v1/models/named/samples/5.png?label={quote(name)}")
    with Image.open(io.BytesIO(one.content)) as image:
        assert np.array_equal(np.asarray(image), wanted[0])
    for source in (made / "artifacts" / "named", made / "run"):
        out = tmp_path / f"{source.name}.npy"
        assert ganzoo("sample", source, "--n", 3, "--seed", 5, "--label", name, "--out", out) == 0
        assert np.abs(np.load(out).astype(int) - wanted).max() <= 1


def test_a_name_that_there_is_not_is_refused_with_those_there_are(made, url, capsys):
    answer = httpx.post(f"{url}/v1/models/named/sample", json={"label": "blue fox"})
    assert answer.status_code == 400
    assert all(name in answer.json()["error"]["message"] for name in NAMES)
    assert ganzoo("sample", made / "artifacts" / "named", "--label", "blue fox") == 2
    assert "label must be one of class 2, class 10, " in capsys.readouterr().err


def test_the_playground_draws_the_class_of_a_name(open_page, url):  # noqa: F811 - the fixture
    page = open_page("/?model=named")
    choice = page.get_by_label("Class")
    expect(choice).to_be_visible()
    assert choice.locator("option").all_text_contents() == ["all classes in turn", *NAMES]
    for name in NAMES:
        choice.select_option(value=name)
        drawn = pictures(page)
        answer = httpx.get(f"{url}/v1/models/named/samples/0.png?label={quote(name)}")
        assert drawn[0] == pixels(answer.content)
    page = open_page(f"/?model=named&label={quote(NAMES[2])}")
    assert page.get_by_label("Class").input_value() == NAMES[2], "an address keeps it"
