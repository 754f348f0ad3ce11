"""An artifact's files: reading the manifest, and checking the other files against their hashes."""

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from serving.errors import EngineError, shown
from serving.runtime.manifest import (
    FORMAT,
    MANIFEST_FILE,
    NAME_PATTERN,
    Golden,
    Manifest,
    ManifestError,
    Variant,
)
from serving.system.files import OLD, PARTIAL, read_regular
from serving.system.json_file import parse
from serving.validation import validation_message

LOST = "lost+found"
"""Folder at the root of every ext4 file system, which may be the volume of the artifacts."""


def is_artifact(source: Path) -> bool:
    """Return whether a folder is an artifact; the folder of a run has no manifest."""
    return (source / MANIFEST_FILE).exists()


def artifact_folders(folder: Path) -> list[Path]:
    """List the artifacts of a folder: its subfolders, without hidden, unfinished and the system's ones."""
    names = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in names if path.suffix not in (PARTIAL, OLD) and path.name != LOST)


def must_be_a_name(name: str) -> None:
    """Check the name of an artifact, which is that of its folder.

    Raises:
        ManifestError: a model can't have this name.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ManifestError(
            "the name of an artifact must start with a letter or digit and consist of at most 100 letters, "
            f"digits, '.', '_' and '-'; got {shown(name)}"
        )


def read_file(folder: Path, part: Variant | Golden) -> bytes:
    """Read a file of an artifact and check it against the manifest's hash.

    Raises:
        EngineError: the file is missing or damaged.
    """
    try:
        data = read_regular(folder / part.file)
    except OSError as error:
        raise EngineError(f"{folder / part.file} can't be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise EngineError(
            f"{folder / part.file} is damaged: its SHA-256 differs from that in {MANIFEST_FILE}; "
            "export or copy the artifact again"
        )
    return data


def read_manifest(folder: Path) -> Manifest:
    """Read an artifact's manifest.

    Raises:
        ManifestError: the manifest is missing or not of this format.
    """
    path = folder / MANIFEST_FILE
    try:
        data = read_regular(path)
    except OSError as error:
        raise ManifestError(
            f"the folder {folder} is not an artifact: {MANIFEST_FILE} can't be read: {error.strerror}; "
            "create an artifact with `ganzoo export RUN`"
        ) from error
    try:
        content = parse(data)
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise ManifestError(
                f"the format of {path} must be {FORMAT}; got {shown(content.get('format'))}; "
                "newer formats require a newer version of gan-zoo"
            )
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        message = validation_message(error.errors(include_url=False), "the content")
        raise ManifestError(f"{path} is not a valid manifest: {message}") from error
    except ValueError as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"{path} is not valid JSON: {error}") from error
