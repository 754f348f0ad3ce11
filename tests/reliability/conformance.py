"""Requests generated from the OpenAPI description, valid and invalid: every response must match it."""

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
    """The result of a Schemathesis run."""

    cases: int
    failed: int
    said: str


def conform(document: str, url: str, report: Path, examples: int) -> Conformed:
    """Test a server against a description, with at least `examples` requests per operation."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG)]
    command += ["run", document, "--url", url, "--no-color"]
    command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", str(examples)]
    command += ["--seed", "1", "--generation-database", "none", "--warnings", "off"]
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cases = json.loads(report.read_text())["test_cases"]
    return Conformed(cases["generated"], cases["with_failures"] + cases["errored"], done.stdout)


def conformance(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Test our server and the naive one against our server's description."""
    examples, settings = 2000 if long else 100, Settings(artifacts=artifacts)
    with ours(settings, scratch / "ours") as (url, _):
        found = conform(f"{url}/docs.json", url, scratch / "ours.json", examples)
        with naive(settings, scratch / "naive") as (other, _):
            careless = conform(f"{url}/docs.json", other, scratch / "naive.json", 5)
    return Finding(
        "valid and invalid requests generated from /docs.json: every response matches the description",
        f"{found.failed} of {found.cases:,} do not match",
        f"a server without middleware: {careless.failed} of {careless.cases:,} do not match",
        found.failed == 0 and found.cases > 0 and careless.failed > 0,
    )
