"""Forms of hosts, origins and prefixes, and near misses of each."""

import pytest

from serving.addresses import is_host, is_host_pattern, is_origin, is_path_prefix


@pytest.mark.parametrize(
    "text", ["localhost", "gan.example.org", "gan_zoo.a-b.c", "10.0.0.1", "::1", "xn--bcher-kva.de"]
)
def test_hosts(text):
    assert is_host(text)
    assert is_host_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "*.*.org",
        "a*.org",
        "http://a.org",
        "a.org:80",
        "a.org/",
        "[::1]",
        "-a",
        "a..b",
        "a b",
        "bücher",
    ],
)
def test_what_is_no_host(text):
    assert not is_host(text)
    assert not is_host_pattern(text)


def test_subdomains_are_a_pattern_and_no_host():
    assert is_host_pattern("*.example.org")
    assert not is_host("*.example.org")


@pytest.mark.parametrize(
    "text", ["https://example.org", "http://localhost:8080", "http://[::1]:3000", "tauri://localhost"]
)
def test_origins(text):
    assert is_origin(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "example.org",
        "//a.org",
        "https://",
        "https://a.org/",
        "https://a.org/x",
        "https://*.a.org",
        "https://a.org:",
        "https://a.org:123456",
        "https://me@a.org",
        "https://[zz]",
        "https://[a.org",
        "https://a b",
    ],
)
def test_what_is_no_origin(text):
    assert not is_origin(text)


@pytest.mark.parametrize("text", ["/gan", "/tools/gan", "/a-b/c_d/e.f~"])
def test_prefixes(text):
    assert is_path_prefix(text)


@pytest.mark.parametrize(
    "text", ["", "/", "gan", "gan/", "/gan/", "//gan", "/a//b", "/../x", "/a/.", "/a b", "/a?b", "/%41"]
)
def test_what_is_no_prefix(text):
    assert not is_path_prefix(text)
