"""Forms of addresses: hosts, origins of web pages, and prefixes of paths."""

import ipaddress
import re

LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[([0-9a-f:.]+)\]|([^:/\[\]]+))(?::\d{1,5})?")
PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")


def is_host(text: str) -> bool:
    """Return whether a text is a host name in lower case, or an IP address without brackets."""
    if NAME.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host_pattern(text: str) -> bool:
    """Return whether a text is a host, or a host name after `*.`, which means its subdomains."""
    return is_host(text) or (text.startswith("*.") and bool(NAME.fullmatch(text[2:])))


def is_origin(text: str) -> bool:
    """Return whether a text is an origin in lower case, `scheme://host` or `scheme://host:port`."""
    match = ORIGIN.fullmatch(text)
    return match is not None and any(part and is_host(part) for part in match.groups())


def is_path_prefix(text: str) -> bool:
    """Return whether a text is a path that starts with a slash and does not end with one."""
    return bool(PATH_PREFIX.fullmatch(text))
