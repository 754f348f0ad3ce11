"""Routes of models that sample: images from seeds and latents."""

import functools
import hashlib
import secrets
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
import PIL
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from serving.api.bodies import parse_body, parse_fields, read_json
from serving.api.formats import Result
from serving.api.requests import InterpolateRequest, PictureRequest, SampleRequest
from serving.api.responses import hold_encoder, is_known, model_for, pixels_of, respond, stopwatch_of
from serving.arrays import Array
from serving.errors import APIError, UserError, shown, unknown_version
from serving.imaging.codec import PNG
from serving.imaging.provenance import Provenance
from serving.middleware.answers import PURE
from serving.repository.model import ServedModel
from serving.repository.repository import ModelRepository
from serving.runtime.latents import MAX_SEED, draw_inputs, interpolate_inputs
from serving.runtime.manifest import Graph, class_of, label_in, name_of
from serving.system.stopwatch import Stopwatch

FOREVER = "max-age=31536000, immutable"
"""Lifetime of a cached image of one seed and one version, which never changes: a year, the usual maximum."""


SOFTWARE = f"{onnxruntime.__version__} {PIL.__version__} {PNG}"
"""Software that samples and encodes, with its versions and options."""


@dataclass
class SamplingRoutes:
    """The routes of models that sample."""

    repository: ModelRepository

    async def sample(self, request: Request) -> Response:
        """Sample images from seeds or latents."""
        stopwatch = stopwatch_of(request)
        model = model_for(request, self.repository, "sample")
        settings, bodies = self.repository.settings, self.repository.bodies
        asked = await parse_body(SampleRequest, await read_json(request, settings.max_body, bodies))
        if asked.seed is not None:
            self._mark_as_pure(request, model)
        return await self.respond_to(model, asked, stopwatch)

    def _mark_as_pure(self, request: Request, model: ServedModel) -> None:
        """Mark the response as one that depends only on the request, as long as this model is served."""
        request.scope[PURE] = functools.partial(self._is_served, weakref.ref(model))

    def _is_served(self, model: "weakref.ref[ServedModel]") -> bool:
        return self.repository.serves(model())

    async def respond_to(
        self,
        model: ServedModel,
        asked: SampleRequest,
        stopwatch: Stopwatch,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Sample the images of a request and encode them; both are admitted before either is begun.

        Raises:
            APIError: `invalid_request` (400), with the field at fault, or `busy` (429).
        """
        _must_be_few(count := asked.count, self.repository.settings.max_images)
        ((_, spec),) = model.manifest.graphs.items()
        with (
            model.at_work.hold(count),
            hold_encoder(self.repository.encoders, asked.format, count * pixels_of(spec.output)) as do,
        ):
            result, seeds = await self.draw(model, asked, stopwatch)
            said = {"X-Seed": str(seeds[0])} if seeds else {}
            return await respond(model, result, asked.format, stopwatch, do, headers or said)

    async def draw(
        self, model: ServedModel, asked: SampleRequest, stopwatch: Stopwatch
    ) -> tuple[Result, list[int]]:
        """Sample the images of a request, and return their seeds too; there are none for given latents.

        Raises:
            APIError: `invalid_request` (400), with the field at fault, or `busy` (429).
        """
        ((graph, spec),) = model.manifest.graphs.items()
        model.must_admit(graph, asked.count)
        inputs, seeds = inputs_of(asked, spec, model.manifest.labels, self.repository.settings.max_images)
        stopwatch.lap("parse")
        output = await model.run(graph, inputs, admitted=True, stopwatch=stopwatch)
        stopwatch.lap("engine")
        labels = model.manifest.labels
        columns = len(labels) if asked.label is None else 0
        about = {"model": model.name, "version": model.version, "seeds": seeds or None}
        whole, single = _said(model.provenance, asked, name_of(labels, asked.label), seeds, columns)
        return Result(
            output,
            about,
            [str(seed) for seed in seeds],
            spec.output.range,
            columns,
            provenance=whole,
            single=single,
        ), seeds

    async def interpolate(self, request: Request) -> Response:
        """Interpolate between the images of seeds."""
        stopwatch = stopwatch_of(request)
        model = model_for(request, self.repository, "sample")
        settings, bodies = self.repository.settings, self.repository.bodies
        asked = await parse_body(InterpolateRequest, await read_json(request, settings.max_body, bodies))
        self._mark_as_pure(request, model)
        ((graph, spec),) = model.manifest.graphs.items()
        _must_be_few(asked.n, settings.max_images)
        with (
            model.at_work.hold(asked.n),
            hold_encoder(
                self.repository.encoders, asked.format, asked.n * pixels_of(spec.output), True
            ) as do,
        ):
            model.must_admit(graph, asked.n)
            inputs = inputs_of_walk(asked, spec, model.manifest.labels)
            stopwatch.lap("parse")
            output = await model.run(graph, inputs, admitted=True, stopwatch=stopwatch)
            stopwatch.lap("engine")
            about = {"model": model.name, "version": model.version, "seeds": asked.seeds}
            label = name_of(model.manifest.labels, asked.label)
            whole = model.provenance and model.provenance.of(
                seeds=asked.seeds, n=asked.n, label=label, truncation=asked.truncation
            )
            result = Result(
                output,
                about,
                limits=spec.output.range,
                milliseconds=asked.milliseconds,
                provenance=whole,
                single=lambda index: whole and whole.of(index=index),
            )
            return await respond(model, result, asked.format, stopwatch, do)

    async def picture(self, request: Request) -> Response:
        """Return the image of one seed, which caches may store."""
        stopwatch = stopwatch_of(request)
        model = model_for(request, self.repository, "sample")
        asked = parse_fields(PictureRequest, request.query_params.multi_items()[:8])
        self._mark_as_pure(request, model)
        version = model.version
        if asked.version not in (None, version):
            raise unknown_version(str(asked.version), model.name, version)
        tag = self._tag(model, request.url.path, asked)
        keep = "private" if self.repository.settings.all_keys else "public"
        headers = {
            "ETag": tag,
            "Cache-Control": f"{keep}, {'no-cache' if asked.version is None else FOREVER}",
        }
        wanted = SampleRequest(
            seed=_seed(request),
            label=label_in(model.manifest.labels, asked.label),
            truncation=asked.truncation,
        )
        _class_of(model.manifest.labels, wanted.label)  # what can't be drawn has not been drawn before either
        if is_known(request.headers, tag):
            return Response(status_code=304, headers=headers)
        return await self.respond_to(model, wanted, stopwatch, headers)

    @staticmethod
    def _tag(model: ServedModel, path: str, asked: PictureRequest) -> str:
        """Return the ETag of an image: a hash of everything that determines its bytes but a signature."""
        ((graph, file),) = model.engine.variants.items()
        shown = f"{model.manifest.labels} {model.manifest.graphs[graph].output.range} {SOFTWARE}"
        made_of = (
            f"{file.sha256} {model.engine.provider} {path} {asked.label} {asked.truncation} {shown} "
            f"{model.provenance}"
        )
        tag = f'"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}"'
        is_signed = model.provenance is not None and model.provenance.maker.credentials is not None
        return f"W/{tag}" if is_signed else tag


def _said(
    provenance: Provenance | None,
    asked: SampleRequest,
    label: str | None,
    seeds: Sequence[int],
    columns: int,
) -> tuple[Provenance | None, Callable[[int], Provenance] | None]:
    """Return what the images of a request say of themselves together, and a function for each by its number.

    Given latents are not repeated, so that such images can't be drawn again.
    """
    if provenance is None:
        return None, None
    if not seeds:
        return provenance.of(label=label), None
    whole = provenance.of_seeds(seeds, label, asked.truncation, columns)
    return whole, lambda index: provenance.of_seeds([seeds[index]], label, asked.truncation)


def _seed(request: Request) -> int:
    """Parse the seed in the path."""
    text = request.path_params["seed"]
    if not text.isascii() or not text.isdecimal() or len(text) > 16 or int(text) > MAX_SEED:
        text = f"seed must be an integer from 0 to {MAX_SEED}; got {shown(text)}"
        raise APIError(404, "not_found", text, "seed")
    return int(text)


def inputs_of(
    request: SampleRequest, graph: Graph, labels: Sequence[str], max_images: int
) -> tuple[dict[str, Array], list[int]]:
    """Return a graph's inputs for a request, and their seeds; there are none for given latents.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    count, label = request.count, _class_of(labels, request.label)
    if request.latents is not None:
        given = _given(request, graph.inputs["latent"].size, request.latents)
        return draw_inputs(graph.inputs, list(range(count)), label) | {"latent": given}, []
    # Random, but low enough that the seed of every image is valid.
    seed = secrets.randbelow(MAX_SEED - max_images) if request.seed is None else request.seed
    if seed + count - 1 > MAX_SEED:
        text = f"seed + n - 1 must be at most {MAX_SEED}; got {seed + count - 1}"
        raise APIError(400, "invalid_request", text, "seed")
    seeds = list(range(seed, seed + count))
    return draw_inputs(graph.inputs, seeds, label, request.truncation), seeds


def inputs_of_walk(request: InterpolateRequest, graph: Graph, labels: Sequence[str]) -> dict[str, Array]:
    """Return a graph's inputs for an interpolation, one row per image.

    Raises:
        APIError: `invalid_request` (400), with the field at fault.
    """
    label = _class_of(labels, request.label)
    return interpolate_inputs(graph.inputs, request.seeds, request.n, label, request.truncation)


def _must_be_few(count: int, max_images: int) -> None:
    if count > max_images:
        raise APIError(400, "invalid_request", f"n must be at most {max_images}; got {shown(count)}", "n")


def _class_of(labels: Sequence[str], label: int | str | None) -> int | None:
    try:
        return class_of(labels, label)
    except UserError as error:
        raise APIError(400, "invalid_request", str(error), "label") from None


def _given(request: SampleRequest, size: int, rows: list[list[float]]) -> NDArray[np.float32]:
    if request.seed is not None:
        raise APIError(400, "invalid_request", "latents must not be given with seed; omit one", "latents")
    if request.truncation is not None:
        text = "truncation must not be given with latents; scale the latents instead"
        raise APIError(400, "invalid_request", text, "truncation")
    if request.n not in (None, len(rows)):
        text = f"n must be the number of latents, {len(rows)}; got {request.n}"
        raise APIError(400, "invalid_request", text, "n")
    if wrong := {len(row) for row in rows} - {size}:
        text = f"every row of latents must have {size} numbers; got {min(wrong)}"
        raise APIError(400, "invalid_request", text, "latents")
    with np.errstate(over="ignore"):
        latents = np.array(rows, np.float32)
    if not np.isfinite(latents).all():
        text = f"latents must be at most {np.finfo(np.float32).max:.1e} in magnitude, as float32; got more"
        raise APIError(400, "invalid_request", text, "latents")
    return latents
