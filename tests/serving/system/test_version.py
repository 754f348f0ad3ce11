"""The version of the package, and that of code which is not installed."""

from importlib import metadata

from serving.system.version import version


def test_it_is_that_of_the_installed_package():
    assert version() == metadata.version("gan-zoo")


def test_code_that_is_not_installed_has_none(monkeypatch):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert version.__wrapped__() == "unknown"
