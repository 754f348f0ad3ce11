from pathlib import Path

import pytest

from serving.errors import UserError
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


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("GANZOO_API_KEY", "did you mean GANZOO_API_KEYS?"),
        ("GANZOO_KEY", "did you mean GANZOO_API_KEYS?"),
        ("ganzoo_api_keys", "did you mean GANZOO_API_KEYS?"),
        ("GANZOO_APIKEYS", "did you mean GANZOO_API_KEYS?"),
        ("GANZOO_DRIAN", "did you mean GANZOO_DRAIN?"),
        ("GANZOO_PORT", "see `ganzoo serve --help`"),
        ("GANZOO_", "see `ganzoo serve --help`"),
        ("GANZOO_TRACEBACKS", "did you mean GANZOO_TRACEBACK?"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(variable, hint):
    with pytest.raises(UserError) as refused:
        Settings.from_environment({variable: "8080"})
    assert str(refused.value) == f"{variable} is not a setting; {hint}"


def test_variables_of_other_parts_and_of_kubernetes_are_no_settings():
    """Those that Kubernetes sets in a pod beside the Services ganzoo and ganzoo-predictor."""
    others = {
        "GANZOO_TRACEBACK": "1",
        "GANZOO_CACHE": "/c",
        "GANZOO_DATA_MEMORY": "2",
        "GANZOO_TEST_DATA": "/d",
    }
    links = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "3000",
        "SERVICE_PORT_HTTP": "3000",
        "PORT": "tcp://10.0.0.1:3000",
        "PORT_3000_TCP": "tcp://10.0.0.1:3000",
        "PORT_3000_TCP_PROTO": "tcp",
        "PORT_3000_TCP_PORT": "3000",
        "PORT_3000_TCP_ADDR": "10.0.0.1",
    }
    others |= {
        f"GANZOO_{middle}{name}": value for name, value in links.items() for middle in ("", "PREDICTOR_")
    }
    assert Settings.from_environment(others) == Settings.from_environment({})


def test_lists_of_addresses():
    settings = Settings.from_environment(
        {
            "GANZOO_HOSTS": "gan.example.org, *.Example.com,10.0.0.1 ,",
            "GANZOO_CORS_ORIGINS": "https://example.org,http://localhost:8080",
            "GANZOO_PREFIX": "/tools/gan",
        }
    )
    assert settings.all_hosts == ["gan.example.org", "*.example.com", "10.0.0.1"]
    assert settings.all_origins == ["https://example.org", "http://localhost:8080"]
    assert settings.prefix == "/tools/gan"
    assert Settings().all_hosts == Settings().all_origins == []
    assert Settings(cors_origins="*").all_origins == ["*"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hosts", "https://gan.example.org"),
        ("hosts", "gan.example.org:3000"),
        ("hosts", "example.org, *"),
        ("hosts", " , "),
        ("cors_origins", "example.org"),
        ("cors_origins", "https://example.org/"),
        ("cors_origins", "*, https://example.org"),
        ("cors_origins", ","),
        ("api_keys", " , "),
        ("prefix", "tools"),
        ("prefix", "/tools/"),
        ("prefix", "/"),
    ],
)
def test_addresses_of_another_form_are_refused_as_variables_and_as_flags(field, value):
    variable = f"GANZOO_{field.upper()}"
    for make in (lambda: Settings(**{field: value}), lambda: Settings.from_environment({variable: value})):
        with pytest.raises(UserError, match=f"^{variable} must "):
            make()
