"""The playground's files: those that there are, as they are, and none that asks another host."""

import posixpath
import re

import pytest

from serving.api.pages import FILES, FOLDER
from serving.settings import Settings
from tests.serving.api.asking import app_of, asker


@pytest.fixture(scope="module")
def ask(artifacts):
    return asker(app_of(Settings(artifacts=artifacts, provider="cpu", api_keys="secret")))


def test_the_page_and_all_that_it_loads_are_there_without_a_key(ask):
    page = ask("GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    loaded = {path for name in FILES for path in loads(name, FILES[name].decode())}
    assert {f"playground/{name}" for name in FILES} - {"playground/index.html"} == loaded
    for path in loaded:
        answer = ask("GET", f"/{path}")
        assert answer.content == FILES[path.removeprefix("playground/")]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask("GET", "/playground/app.js").headers["content-type"].startswith("text/javascript")


def loads(name: str, text: str) -> list[str]:
    """What a page or a module of this name loads, by its path from the root."""
    found = re.findall(r'(?:src|href)="(playground/[^"]+)"', text)
    beside = posixpath.dirname(f"playground/{name}")
    modules = re.findall(r'from "(\.[^"]+)"', text)
    return found + [posixpath.normpath(posixpath.join(beside, module)) for module in modules]


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_names_another_host(name):
    addresses = re.findall(r"\b[a-z]+://[^\s\"']+|[\"'(]//", FILES[name].decode())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}, "a namespace, which nobody asks"


def test_only_what_is_there_can_be_asked_for(ask):
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*")} == FILES.keys()
    for name in (
        "nothing.js",
        "../pages.py",
        "..%2fpages.py",
        "%2e%2e/settings.py",
        ".",
        "",
        "views",
        "views/../../pages.py",
    ):
        assert ask("GET", f"/playground/{name}").status_code in (401, 404)


def test_a_browser_asks_again_and_is_told_when_nothing_changed(ask):
    first = ask("GET", "/playground/style.css")
    assert first.headers["cache-control"] == "no-cache"
    again = ask("GET", "/playground/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = ask("GET", "/playground/style.css", headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


def test_the_page_may_run_and_load_its_own_alone(ask):
    policy = ask("GET", "/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
