"""Versions of the software that trains a run."""

import platform
import subprocess
from pathlib import Path

import torch

from serving.system.version import version


def software() -> dict[str, str]:
    """Return the versions of gan-zoo, torch and Python, and the git commit if the code is a checkout."""
    return {
        "gan-zoo": version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit() or "unknown",
    }


def _commit() -> str | None:
    """Return the commit of the git checkout that this file belongs to, or None if there is none."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked[1] if Path(asked[0]) == root else None
