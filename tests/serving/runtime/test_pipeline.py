"""The pipeline in Python: the same bytes as the shell's, whatever an image comes as."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import serving
from serving.errors import UserError
from serving.imaging.provenance import read_provenance
from serving.offline.sample import write_samples
from training.cli.inference import open_model


@pytest.fixture(scope="module")
def classes(artifacts):
    return serving.load(artifacts / "classes")


@pytest.fixture(scope="module")
def styles(artifacts):
    return serving.load(artifacts / "styles")


def test_samples_are_those_of_the_shell(classes, tmp_path):
    write_samples(classes, 70, 5, tmp_path / "x.npy", label="B", truncation=0.5)
    found = classes.sample(70, seed=5, label="B", truncation=0.5)
    assert np.array_equal(np.load(tmp_path / "x.npy"), found)
    assert (found.dtype, found.shape) == (np.uint8, (70, 16, 16, 1))
    assert np.array_equal(found[3], classes.sample(1, seed=8, label=1, truncation=0.5)[0])
    assert not np.array_equal(found, classes.sample(70, seed=5, label="B"))
    assert np.array_equal(classes.sample(2), classes.sample(2, seed=0))


def test_an_interpolation_passes_every_seed(classes):
    frames = classes.interpolate([4, 9, 4], n=101, label="A")
    assert frames.shape == (101, 16, 16, 1)
    for place, seed in ((0, 4), (50, 9), (100, 4)):
        level = np.abs(frames[place].astype(int) - classes.sample(1, seed=seed, label="A")[0])
        assert level.max() <= 1
    # The class of the first seed, 4 % 3, where none is given.
    assert np.array_equal(classes.interpolate([4, 9], 5), classes.interpolate([4, 9], 5, label="B"))


def test_vectors_are_floats(artifacts):
    points = serving.load(artifacts / "points").sample(3)
    assert (points.dtype, points.shape) == (np.float32, (3, 2))


def pictures(folder):
    """One image in every guise, and what it is as pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (21, 37, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.save(folder / "given.png")
    image.save(folder / "given.bmp")
    grey = np.asarray(image.convert("L"))
    return [
        (pixels, [pixels, image, folder / "given.png", str(folder / "given.bmp"), pixels[:, ::-1][:, ::-1]]),
        (np.repeat(grey[:, :, None], 3, 2), [grey, grey[:, :, None], Image.fromarray(grey)]),
        (pixels, [np.dstack([pixels, np.full(grey.shape, 255, np.uint8)])]),
    ]


def test_an_image_may_be_an_array_a_pil_image_or_a_path(styles, tmp_path):
    for pixels, guises in pictures(tmp_path):
        expected = styles.translate(pixels[None], "b2a")[0]
        assert expected.shape == (21, 37, 3)
        for image in guises:
            assert np.array_equal(styles.translate(image, direction="b2a"), expected)
        assert np.array_equal(styles.translate(guises[0]), styles.translate(pixels, "a2b"))


def test_several_images_may_have_several_sizes(styles):
    images = [np.zeros((9, 11, 3), np.uint8), Image.new("RGB", (30, 20))]
    found = styles.translate(images)
    assert [each.shape for each in found] == [(9, 11, 3), (20, 30, 3)]
    assert all(
        np.array_equal(styles.translate(image), each) for image, each in zip(images, found, strict=True)
    )
    assert styles.translate(np.zeros((4, 9, 11, 3), np.uint8)).shape == (4, 9, 11, 3)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((9, 9, 3), np.float32), r"uint8 .*got float32 \(9, 9, 3\)"),
        (np.zeros((3, 9, 9), np.uint8), r"channels, and not empty; got uint8 \(3, 9, 9\)"),
        (np.zeros((0, 9, 3), np.uint8), r"got uint8 \(0, 9, 3\)"),
        (np.zeros((2, 9, 9, 1), np.uint8), r"\(N, H, W, 3\) and not empty; got uint8 \(2, 9, 9, 1\)"),
        (np.zeros(9, np.uint8), r"got uint8 \(9,\)"),
        (7, "got int"),
        (b"bytes", "got bytes"),
    ],
)
def test_what_is_no_image_is_named(styles, image, said):
    with pytest.raises(UserError, match=said):
        styles.translate(image)
    with pytest.raises(UserError, match=said):
        styles.translate([image])


def test_a_file_that_is_no_image_is_named(styles, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no\.png"):
        styles.translate(tmp_path / "no.png")
    with pytest.raises(FileNotFoundError):
        styles.translate(tmp_path / "nowhere.png")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda classes, styles: classes.sample(0), "n must be at least 1; got 0"),
        (lambda classes, styles: classes.sample(2, seed=-1), "seed.*got -1"),
        (lambda classes, styles: classes.sample(2, seed=2**53 - 1), "seed"),
        (lambda classes, styles: classes.sample(label="D"), "A, B, C"),
        (lambda classes, styles: classes.sample(label=3), "0 to 2; got 3"),
        (lambda classes, styles: classes.sample(truncation=0.0), "truncation.*got 0"),
        (lambda classes, styles: classes.sample(truncation=1.5), "truncation.*got 1.5"),
        (lambda classes, styles: classes.interpolate([1]), "at least 2.*got 1"),
        (lambda classes, styles: classes.interpolate([1, 2], n=1), "n must be at least 2.*got 1"),
        (lambda classes, styles: classes.interpolate([1, -2]), "seed.*-2"),
        (lambda classes, styles: classes.translate(np.zeros((9, 9), np.uint8)), "samples"),
        (lambda classes, styles: styles.sample(), "translates"),
        (lambda classes, styles: styles.interpolate([1, 2]), "translates"),
        (
            lambda classes, styles: styles.translate(np.zeros((9, 9), np.uint8), "sideways"),
            "a2b or b2a.*sideways",
        ),
        (lambda classes, styles: serving.to_pil(np.zeros(3)), r"got float64 \(3,\)"),
        (lambda classes, styles: serving.load("no-such"), "dcgan-mnist"),
        (lambda classes, styles: serving.load("dcgan-mnist", precision="int8"), "int8.*fp32"),
        (lambda classes, styles: serving.load("dcgan-mnist", threads=-1), "threads.*got -1"),
    ],
)
def test_what_cannot_be_is_said(classes, styles, call, said):
    with pytest.raises(UserError, match=said):
        call(classes, styles)


def test_a_run_is_told_from_an_artifact(runs):
    with pytest.raises(UserError, match="ganzoo export"):
        serving.load(runs / "pictures")


def test_several_threads_may_share_a_pipeline(classes, styles):
    image = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), np.uint8)
    expected = [classes.sample(9, seed=seed) for seed in range(8)]
    translated = styles.translate(image)
    start = threading.Barrier(8)

    def work(seed: int) -> bool:
        start.wait()
        return all(
            np.array_equal(classes.sample(9, seed=seed), expected[seed])
            and np.array_equal(styles.translate(image), translated)
            for _ in range(10)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_closed_it_says_so(artifacts):
    with serving.load(artifacts / "pictures", threads=1, provider="cpu") as pipeline:
        assert len(pipeline.sample(2)) == 2
    with pytest.raises(UserError, match="pictures is closed"):
        pipeline.sample(2)


def test_grey_is_shown_beside_colour(styles):
    """Also the sheet of a translator whose ends have other channels."""
    grey = styles.inputs["a2b"]["image"].model_copy(update={"shape": ["batch", "height", "width", 1]})
    inputs = {"a2b": {"image": grey}, "b2a": styles.inputs["b2a"]}
    does = {
        "a2b": lambda pixels: pixels * np.uint8([0, 1, 0]),
        "b2a": lambda pixels: pixels.max(3, keepdims=True),
    }
    pipeline = serving.Pipeline(inputs, lambda name, fed: does[name](fed["image"]))
    assert "translates a2b: images (H, W, 1); b2a: images (H, W, 3) of any size" in repr(pipeline)
    assert pipeline.translate(np.full((9, 9, 3), 7, np.uint8)).tolist() == [[[0, 7, 0]] * 9] * 9
    sheet = pipeline.picture("a2b", {"image": np.full((1, 4, 4, 1), 200, np.uint8)}, 1)
    assert [sheet[3, 3 + 6 * column].tolist() for column in range(3)] == [[200] * 3, [0, 200, 0], [200] * 3]


def test_it_describes_itself(classes, styles, artifacts, runs):
    does = "samples images (16, 16, 1); 3 classes: A, B, C; on cpu"
    assert repr(classes) == f"<Pipeline classes; {does}; version {classes.version}>"
    assert "translates a2b, b2a: images (H, W, 3) of any size" in repr(styles)
    assert "vectors (2)" in repr(serving.load(artifacts / "points"))
    assert "networks in memory" in repr(open_model(runs / "pictures"))
    for pipeline in (classes, styles, serving.load(artifacts / "points"), open_model(runs / "classes")):
        page = pipeline._repr_html_()
        assert page.count("<div") == page.count("</div>")
        assert len(re.findall(r'src="data:image/png;base64,[\w+/=]+"', page)) == 1
    assert "<img" not in open_model(runs / "styles")._repr_html_(), "there is nothing to translate"
    assert classes.manifest.entry == "cdcgan"
    assert list(classes.labels) == ["A", "B", "C"]


@pytest.mark.parametrize(("name", "form"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_files_say_where_they_come_from(classes, tmp_path, name, form):
    path, said = tmp_path / name, classes.provenance.of(seed=5, n=2)
    serving.save(path, pixels := classes.sample(2, seed=5), said, columns=1)
    assert read_provenance(path.read_bytes()) == said
    with Image.open(path) as image:
        assert (image.format, image.size) == (form, (20, 38))
        if form == "PNG":
            assert np.array_equal(np.asarray(image), np.asarray(serving.to_pil(pixels, columns=1)))
    serving.save(path, pixels[0])
    assert read_provenance(path.read_bytes()) is None
    with pytest.raises(serving.UserError, match=r"the suffix of an image must be .*; got a\.gif"):
        serving.save(tmp_path / "a.gif", pixels)


def test_pictures_to_look_at(classes, artifacts):
    assert serving.to_pil(classes.sample(1)[0]).size == (16, 16)
    assert serving.to_pil(classes.sample(6), columns=3).size == (3 * 18 + 2, 2 * 18 + 2)
    assert serving.to_pil(serving.load(artifacts / "points").sample(9)).size == (256, 256)
    assert serving.to_pil(np.zeros((4, 5, 3), np.uint8)).mode == "RGB"
