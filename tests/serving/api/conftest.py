"""A server of the small artifacts, with limits that tests can reach."""

import pytest

from serving.settings import Settings
from tests.serving.api.asking import app_of, asker


@pytest.fixture(scope="module")
def ask(artifacts):
    settings = Settings(
        artifacts=artifacts,
        provider="cpu",
        max_images=16,
        max_body=20_000,
        max_upload=20_000,
        max_pixels=4096,
    )
    return asker(app_of(settings))
