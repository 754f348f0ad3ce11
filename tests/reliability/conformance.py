"""Requests made of the server's own description, right and wrong: every answer is one that it describes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from serving.settings import Settings
from tests.reliability.finding import Finding
from tests.reliability.servers import naive, ours

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


CONFIG = Path(__file__).with_name("schemathesis.toml")


class Conformed(NamedTuple):
    """What Schemathesis found."""

    cases: int
    failed: int
    said: str


def conform(document: str, url: str, report: Path, examples: int) -> Conformed:
    """Try a server against a description, so many requests an operation and more."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)]
    command += ["run", document, "--url", url, "--no-color"]
    command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", str(examples)]
    command += ["--seed", "1", "--generation-database", "none", "--warnings", "off"]
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cases = json.loads(report.read_text())["test_cases"]
    return Conformed(cases["generated"], cases["with_failures"] + cases["errored"], done.stdout)


def conformance(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Try our server, and the naive one by our server's description."""
    examples, settings = 2000 if long else 100, Settings(artifacts=artifacts)
    with ours(settings, scratch / "ours") as (url, _):
        found = conform(f"{url}/docs.json", url, scratch / "ours.json", examples)
        with naive(settings, scratch / "naive") as (other, _):
            careless = conform(f"{url}/docs.json", other, scratch / "naive.json", 5)
    return Finding(
        "requests made of /docs.json, right and wrong: every answer is one that it describes",
        f"{found.failed} of {found.cases:,} are not",
        f"a server without middleware: {careless.failed} of {careless.cases:,} are not",
        found.failed == 0 and found.cases > 0 and careless.failed > 0,
    )
