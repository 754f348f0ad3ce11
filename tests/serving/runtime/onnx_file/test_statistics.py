"""Graphs whose instance normalisations have given statistics."""

import numpy as np
import pytest

from serving.runtime.artifact import read_manifest
from serving.runtime.onnx_file.statistics import split
from serving.runtime.sessions import open_session


def graphs(artifact):
    manifest = read_manifest(artifact)
    for graph in manifest.graphs.values():
        for variant in graph.variants:
            yield (artifact / variant.file).read_bytes(), graph.inputs["image"]


def image_of(spec, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, spec.size), dtype=np.uint8)


def test_with_its_own_statistics_an_image_is_the_same(artifacts):
    seen = 0
    for model, spec in graphs(artifacts / "styles"):
        pair = split(model)
        image = image_of(spec, 24, 40)
        (expected,) = open_session(model, "cpu").run(None, {"image": image})
        measuring, applying = (open_session(each, "cpu") for each in pair)
        names = [output.name for output in measuring.get_outputs()]
        output, *statistics = measuring.run(None, {"image": image})
        assert np.abs(output.astype(int) - expected).max() <= 1
        given = dict(zip(names[1:], statistics, strict=True))
        assert np.abs(applying.run(None, {"image": image} | given)[0].astype(int) - expected).max() <= 1
        seen += 1
    assert seen


def test_with_given_statistics_each_pixel_is_the_same_in_every_image(artifacts):
    model, spec = next(graphs(artifacts / "styles"))
    measuring, applying = (open_session(each, "cpu") for each in split(model))
    names = [output.name for output in measuring.get_outputs()][1:]
    given = dict(zip(names, measuring.run(names, {"image": image_of(spec, 24, 40)}), strict=True))
    image = image_of(spec, 24, 320, seed=1)
    other = image.copy()
    other[:, :, 200:] = 255 - other[:, :, 200:]

    def left(session, pixels, more):
        return session.run(None, {"image": pixels} | more)[0][:, :, :64].astype(int)

    assert np.array_equal(left(applying, image, given), left(applying, other, given))
    whole = open_session(model, "cpu")
    assert np.abs(left(whole, image, {}) - left(whole, other, {})).max() > 1, "the control"


def test_a_graph_without_normalisation_needs_none(enlarger):
    assert [split(model) for model, _ in graphs(enlarger / "larger")] == [None] * 2


@pytest.mark.slow
def test_in_half_precision(runs, tmp_path, precision="fp16"):
    from training.artifacts.export import export

    export(runs / "styles", tmp_path / "styles", (precision,))
    manifest = read_manifest(tmp_path / "styles")
    graph = next(iter(manifest.graphs.values()))
    (variant,) = (each for each in graph.variants if each.precision == precision)
    measuring, applying = (
        open_session(each, "cpu") for each in split((tmp_path / "styles" / variant.file).read_bytes())
    )
    assert {each.type for each in measuring.get_outputs()[1:]} == {"tensor(float16)"}
    image = image_of(graph.inputs["image"], 24, 40)
    names = [output.name for output in measuring.get_outputs()][1:]
    given = dict(zip(names, measuring.run(names, {"image": image}), strict=True))
    expected = measuring.run(["output"], {"image": image})[0].astype(int)
    assert np.abs(applying.run(None, {"image": image} | given)[0] - expected).mean() <= 1
