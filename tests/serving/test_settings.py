from pathlib import Path

import pytest

from serving.settings import RENAMED, Settings


def test_defaults_and_what_is_set():
    settings = Settings.from_environment(
        {"GANZOO_ARTIFACTS": "/models", "GANZOO_MAX_IMAGES": "8", "HOME": "/"}
    )
    assert settings == Settings(artifacts=Path("/models"), max_images=8)


def test_there_and_back():
    settings = Settings(
        artifacts=Path("/a"), provider="cpu", max_images=3, max_batch=4, max_queue=5, max_body=6
    )
    assert Settings.from_environment(settings.to_environment()) == settings


def test_without_artifacts_here_those_beside_the_package_are_served(tmp_path, monkeypatch):
    package = tmp_path / "package" / "serving"
    (tmp_path / "package" / "artifacts").mkdir(parents=True)
    monkeypatch.setattr("serving.runtime.pretrained.__file__", str(package / "runtime" / "pretrained.py"))
    monkeypatch.chdir(tmp_path)
    assert Settings.from_environment({}).artifacts == tmp_path / "package" / "artifacts"
    (package / "pretrained").mkdir(parents=True)
    assert Settings.from_environment({}).artifacts == package / "pretrained"
    (tmp_path / "artifacts").mkdir()
    assert Settings.from_environment({}).artifacts == Path("artifacts")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GANZOO_MAX_BATCH", "0"),
        ("GANZOO_MAX_BODY", "1.5"),
        ("GANZOO_MAX_IMAGES", ""),
        ("GANZOO_PROVIDER", "tpu"),
        ("GANZOO_MAX_QUEUE", "1"),
        ("GANZOO_API_KEYS", ""),
        ("GANZOO_API_KEYS", " , "),
        ("GANZOO_ACCESS_LOG", "maybe"),
        ("GANZOO_RELOAD", "-1"),
        ("GANZOO_RELOAD", "inf"),
        ("GANZOO_WORKERS", "0"),
        ("GANZOO_THREADS", "-1"),
        ("GANZOO_DRAIN", "-1"),
        ("GANZOO_MAX_QUEUE_SECONDS", "nan"),
        ("GANZOO_CONCURRENT_BATCHES", "-1"),
    ],
)
def test_what_makes_no_sense_is_named(variable, value):
    with pytest.raises(ValueError, match=variable):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_variable_of_before_goes_on_working_with_one_warning(old, new, capsys):
    before, now = f"GANZOO_{old.upper()}", f"GANZOO_{new.upper()}"
    environment = {before: "3"}
    settings = Settings.from_environment(environment)
    assert settings == Settings.from_environment({now: "3"}) != Settings()
    assert environment == {now: "3"}, "so that processes that are started later do not warn again"
    assert capsys.readouterr().err == f"warning: {before} is deprecated; use {now}\n"
    assert Settings.from_environment({before: "3", now: "4"}) == Settings.from_environment({now: "4"})
