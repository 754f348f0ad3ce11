"""The model repository: every artifact of a folder as a served model, reloaded when it changes."""

import contextlib
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from serving.errors import APIError, EngineError, unknown_model
from serving.metrics import MODELS, REFUSED, RELOADS
from serving.repository.admission import Admission
from serving.repository.model import ServedModel, load_model, run_once
from serving.repository.pool import Pool
from serving.runtime.artifact import artifact_folders, must_be_a_name
from serving.settings import Settings
from serving.system.cpu import cores

logger = logging.getLogger("ganzoo")

Item = TypeVar("Item")

State = Literal["ready", "empty", "out of memory", "leaving"]
"""State of a server; `leaving` means that it is shutting down."""

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Name, inode, size and times of every file in a folder, to detect changes without reading the files."""


class ModelRepository:
    """All served models, by the names of their folders.

    Artifacts may be added, replaced and removed while the server runs. A request keeps the model that it has
    found, so that its response is of one version. A replaced model is freed after its last request.
    """

    def __init__(self, settings: Settings) -> None:
        self.configure(settings)
        self.models: Mapping[str, ServedModel] = {}
        self.faults: Mapping[str, str] = {}
        """Why a folder's latest content is not served. Both mappings are replaced, never changed in place,
        because other threads read them."""

        self._stamps: dict[str, Stamp] = {}
        self._missing: set[str] = set()
        self._shutting_down = False

    def configure(self, settings: Settings) -> None:
        """Set the settings for models that are loaded from now on, and the limits on work."""
        self.settings = settings
        self.bodies = Admission(settings.max_bodies)
        """Bytes of the bodies that are being read, of all requests together."""

        self.uploads = Admission(settings.max_uploads)
        """Uploaded images that are being decoded and translated."""

        self.encoders = Pool("encoder", cores(), settings.max_queue_seconds)
        self.decoders = Pool("decoder", cores(), settings.max_queue_seconds)

    def load(self) -> None:
        """Load every artifact of the folder; the errors of those that can't be served are in `faults`.

        Raises:
            EngineError: there is no artifact that can be served.
        """
        root = self.settings.artifacts
        if not root.is_dir():
            raise EngineError(f"there is no folder {root}; create an artifact with `ganzoo export RUN`")
        if not artifact_folders(root):
            raise EngineError(f"the folder {root} contains no artifact; create one with `ganzoo export RUN`")
        self.refresh()
        if not self.models:
            raise EngineError(next(iter(self.faults.values())))

    @property
    def state(self) -> State:
        """State of the server: `ready`, `empty`, `out of memory` or `leaving` (shutting down)."""
        starved = any(model.engine.is_starved for model in self.models.values())
        if self._shutting_down:
            return "leaving"
        return "out of memory" if starved else "ready" if self.models else "empty"

    def shut_down(self) -> None:
        """Set the state to `leaving`, so that the server reports that it is not ready."""
        self._shutting_down = True

    def refresh(self) -> None:
        """Load artifacts that are new or have changed, and unload those that were removed.

        If an artifact can't be served, its previous version stays loaded and its error is in `faults`. It is
        loaded again when it changes.
        """
        folders = artifact_folders(self.settings.artifacts)
        for folder in folders:
            stamp = _stamp(folder)
            if stamp != self._stamps.get(folder.name):
                self._stamps[folder.name] = stamp
                self._reload(folder)
        there = {folder.name for folder in folders}
        gone = (self.models.keys() | self.faults.keys()) - there
        # An artifact that is being replaced is missing for a moment: unload it after two misses.
        for name in gone & self._missing:
            self.models, self.faults = _without(self.models, name), _without(self.faults, name)
            self._stamps.pop(name, None)
            logger.info("%s was removed and is no longer served", name)
        self._missing = gone
        MODELS.set(len(self.models))
        REFUSED.set(len(self.faults))
        for model in self.models.values():
            for graph in model.manifest.graphs if model.engine.is_starved else ():
                with contextlib.suppress(EngineError):
                    run_once(model.engine, graph)

    def _reload(self, folder: Path) -> None:
        name, present = folder.name, self.models.get(folder.name)
        try:
            must_be_a_name(name)
            model = load_model(folder, self.settings, present)
        except Exception as error:  # parsers may raise anything on unknown files
            self.faults = {**self.faults, name: str(error).replace(str(folder), name)}
            RELOADS.labels("refused").inc()
            logger.error("the artifact %s can't be loaded: %s", name, error)
            return
        self.models, self.faults = {**self.models, name: model}, _without(self.faults, name)
        if present is None or present.version != model.version:
            RELOADS.labels("loaded").inc()
            logger.info("%s is served as version %s", name, model.version)

    def keep_fresh(self, stop: threading.Event) -> None:
        """Refresh every `reload` seconds until the event is set."""
        while not stop.wait(self.settings.reload):
            try:
                self.refresh()
            except Exception:
                logger.exception("can't check for changed artifacts")

    def serves(self, model: ServedModel | None) -> bool:
        """Return whether a model is the one that is served by its name now."""
        return model is not None and self.models.get(model.name) is model

    def find(self, name: str, task: str | None = None) -> ServedModel:
        """Return the model of a name, which is never used as a path.

        Raises:
            APIError: `unknown_model` (404) or `wrong_task` (400).
        """
        model = self.models.get(name)
        if model is None:
            raise unknown_model(name, self.models)
        if task not in (None, model.manifest.task):
            does = {"sample": "samples", "translate": "translates images"}[model.manifest.task]
            text = f"the model {name} {does} and can't {task}; use /{model.manifest.task}"
            raise APIError(400, "wrong_task", text)
        return model


def _without(items: Mapping[str, Item], name: str) -> dict[str, Item]:
    return {key: item for key, item in items.items() if key != name}


def _stamp(folder: Path) -> Stamp:
    """Return the stamp of a folder; that of a folder that can't be read is empty."""
    try:
        files = [(path.name, _status(path)) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple(
        (name, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for name, file in files
    )


def _status(path: Path) -> os.stat_result:
    """Return the status of a file; of a link without a target, its own."""
    try:
        return path.stat()
    except FileNotFoundError:
        return path.lstat()
