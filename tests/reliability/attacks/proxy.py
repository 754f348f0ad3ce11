"""A cache in front of the server: no header puts an image under the URL of another one."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from serving.settings import Settings
from tests.nginx import NGINX, proxying
from tests.reliability.finding import Finding
from tests.reliability.servers import ours

HEADERS = ("Authorization", "X-API-Key")

JOINED = {
    "proxy_cache_key $request_uri;": "proxy_cache_key $request_uri$http_authorization$http_x_api_key;",
    "proxy_cache_bypass $http_authorization $http_x_api_key;": "",
    "proxy_no_cache $http_authorization $http_x_api_key;": "",
}
"""What the control changes: the key of its cache has the headers, joined to the URL without a separator."""


class Poisoned(NamedTuple):
    """The responses to victims, whose URLs an attacker completed before them."""

    count: int
    wrong: int
    """Responses with another image than that of their URL."""

    cached: int
    """Victims' URLs that are answered from the cache the second time."""

    def __str__(self) -> str:
        return f"{self.wrong} of {self.count:,} wrong, {self.cached:,} cached"


class Case(NamedTuple):
    """The attacker's URL, the headers that complete it, and the victim's URL."""

    start: str
    headers: dict[str, str]
    victim: str


def cases(version: str, seed: int) -> Iterator[Case]:
    """Yield attacks on the images of different seeds endlessly."""
    chance = random.Random(seed)
    for number in range(2**31):
        path = f"/v1/models/pictures/samples/{number}.png?version={version}"
        name, digits = chance.choice(HEADERS), f"{chance.randrange(1, 100):02}"
        for start, rest in (
            (f"{path}&truncation=0.{chance.randint(1, 4)}", {name: digits}),
            (f"{path}&truncation=0.{chance.randint(1, 4)}", dict(zip(HEADERS, digits, strict=True))),
            (path, {name: f"&truncation=0.{digits}"}),
            (f"{path}&truncation=", {HEADERS[0]: "0.", HEADERS[1]: digits}),
        ):
            yield Case(start, rest, start + "".join(rest.get(header, "") for header in HEADERS))


def attack(server: str, address: str, count: int, seed: int = 0) -> Poisoned:
    """Attack the cache of a proxy in front of a server, and compare what its victims get with the server."""
    wrong = cached = 0
    with httpx.Client(base_url=server) as direct, httpx.Client(base_url=address) as client:
        models = direct.get("/v1/models").json()["models"]
        version = next(model["version"] for model in models if model["name"] == "pictures")
        for (start, headers, victim), _ in zip(cases(version, seed), range(count), strict=False):
            client.get(start, headers=headers)
            answers, truth = [client.get(victim) for _ in range(2)], direct.get(victim)
            wrong += any(answer.content != truth.content for answer in answers)
            cached += answers[1].headers.get("x-cache") == "HIT"
    return Poisoned(count, wrong, cached)


def proxy(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Attack the cache of nginx with our configuration, and with a key that joins the URL and headers."""
    count = 20_000 if long else 1000
    promise = (
        f"{count:,} requests to `deploy/nginx.conf` whose API key would complete their URL to another one: "
        "every URL still gives its own image, from the cache too"
    )
    if NGINX is None:
        return Finding(promise, "not run: there is no nginx", "not run", False)
    shipped, joined = scratch / "shipped", scratch / "joined"
    shipped.mkdir()
    joined.mkdir()
    with ours(Settings(artifacts=artifacts), scratch / "log") as (url, _):
        with proxying(url, shipped, {}) as address:
            found = attack(url, address, count)
        with proxying(url, joined, JOINED) as address:
            control = attack(url, address, 100)
    return Finding(
        promise,
        str(found),
        f"a cache whose key joins the URL and both headers: {control}",
        (found.wrong, found.cached) == (0, count) and control.wrong > 0,
    )
