import json
from pathlib import Path

import jsonschema
import pytest

from serving.runtime import manifest
from serving.runtime.artifact import read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Evaluation, Manifest, ManifestError


@pytest.fixture
def content(artifacts):
    return json.loads((artifacts / "pictures" / MANIFEST_FILE).read_text())


def read(content, folder) -> Manifest:
    (folder / MANIFEST_FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_manifest(folder)


def test_it_comes_back_as_it_was(content, tmp_path, artifacts):
    manifest = read(content, tmp_path)
    assert manifest == read_manifest(artifacts / "pictures")
    assert json.loads(manifest.to_json()) == content


def changed(content, path, value):
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


GENERATOR = ("graphs", "generator")
VARIANT = (*GENERATOR, "variants", 0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "must be 1; got 2"),
        (("format",), None, "must be 1; got None"),
        (("colour",), "red", "colour"),
        (("task",), "guess", "task"),
        (("name",), "../escape", "name"),
        (("graphs",), {}, "graphs"),
        ((*VARIANT, "file"), "../../etc/passwd", "file"),
        ((*VARIANT, "file"), "generator.pt", "file"),
        ((*VARIANT, "sha256"), "0" * 63, "sha256"),
        ((*VARIANT, "precision"), "fp8", "precision"),
        ((*VARIANT, "provider"), "tpu", "provider"),
        ((*VARIANT, "provider"), "cpu", "first"),
        ((*VARIANT, "parity"), None, "parity"),
        ((*VARIANT, "loss"), {"psnr": 40.0, "max_level_error": 2, "samples": 64}, "parity"),
        ((*GENERATOR, "variants", 1, "provider"), "any", "no two may be equal"),
        ((*GENERATOR, "golden", "file"), "generator.pickle", "golden"),
        ((*GENERATOR, "opset"), "18", "opset"),
        ((*GENERATOR, "output", "dtype"), "float16", "dtype"),
        (("training", "steps"), "many", "steps"),
    ],
)
def test_what_it_does_not_know_it_refuses(content, tmp_path, path, value, said):
    with pytest.raises(ManifestError, match=said):
        read(changed(content, path, value), tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "\ufeff{}"])
def test_damage_is_refused(text, tmp_path):
    with pytest.raises(ManifestError):
        read(text, tmp_path)


def test_a_folder_without_one_is_no_artifact(tmp_path):
    with pytest.raises(ManifestError, match="is not an artifact"):
        read_manifest(tmp_path)


def test_the_version_is_that_of_the_graphs(content, tmp_path):
    before = read(content, tmp_path).version
    assert len(before) == 12
    scored = {
        "data": "glyphs",
        "samples": 9,
        "seed": 0,
        "features": None,
        "scores": {"x": 1},
        "controls": {"real": {"x": 0}},
    }
    assert read(changed(content, ("metrics",), [scored]), tmp_path).version == before
    assert read(changed(content, (*VARIANT, "sha256"), "0" * 64), tmp_path).version != before


def test_an_evaluation_replaces_those_of_the_same_data_and_extractor():
    first = Evaluation(
        data="mnist", samples=9, seed=0, features={"name": "classifier"}, scores={}, controls={}
    )
    assert first.model_copy(update={"seed": 3}).replaces(first)
    more, fewer = (first.model_copy(update={"samples": samples}) for samples in (20, 5))
    assert more.replaces(first)
    assert not more.yields_to(first)
    assert not fewer.replaces(first)
    assert fewer.yields_to(first)
    assert not first.model_copy(update={"data": "glyphs"}).replaces(first)
    assert not first.model_copy(update={"features": {"name": "inception"}}).replaces(first)
    assert not first.model_copy(update={"features": None}).replaces(first)


SCHEMA = json.loads((Path(manifest.__file__).parent / "manifest.schema.json").read_text())


def test_format_1_is_frozen():
    """What its schema does not allow is another format, with a number of its own."""
    assert rules(Manifest.model_json_schema()) == rules(SCHEMA)


def rules(schema):
    """A schema without its words, which may change; names of properties are no words."""
    if isinstance(schema, list):
        return [rules(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name for name in ("title", "description") if isinstance(schema.get(name), str)}
    return {name: rules(each) for name, each in schema.items() if name not in words}


@pytest.mark.parametrize("name", ["pictures", "classes", "points", "styles", "pairs"])
def test_every_artifact_is_of_the_schema(name, artifacts):
    manifest = json.loads((artifacts / name / MANIFEST_FILE).read_text())
    jsonschema.validate(manifest, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest | {"colour": "red"}, SCHEMA)


def test_the_variant_for_a_provider_is_its_own_or_anybodys(content, tmp_path):
    (one, *_) = content["graphs"]["generator"]["variants"]
    loss = {"parity": None, "loss": {"psnr": 40.0, "max_level_error": 2, "samples": 64}}
    content["graphs"]["generator"]["variants"] = [
        one,
        one | {"file": "cpu.onnx", "provider": "cpu"},
        one | {"file": "cpu8.onnx", "provider": "cpu", "precision": "int8"} | loss,
        one | {"file": "half.onnx", "provider": "cuda", "precision": "fp16"} | loss,
    ]
    graph = read(content, tmp_path).graphs["generator"]
    chosen = {
        (provider, precision): graph.variant_for(provider, precision).file
        for provider in ("cpu", "cuda")
        for precision in ("fp32", "fp16", "int8")
    }
    assert chosen == {
        ("cpu", "fp32"): "cpu.onnx",
        ("cpu", "fp16"): "cpu.onnx",
        ("cpu", "int8"): "cpu8.onnx",
        ("cuda", "fp32"): "generator.onnx",
        ("cuda", "fp16"): "half.onnx",
        ("cuda", "int8"): "generator.onnx",
    }
