"""Pictures out of seeds and latents, over HTTP."""

import hashlib
from dataclasses import dataclass

import onnxruntime
import PIL
from starlette.requests import Request
from starlette.responses import Response

from serving.api.formats import Drawn
from serving.api.requests import (
    InterpolateRequest,
    PictureRequest,
    SampleRequest,
    inputs_of,
    inputs_of_walk,
    parse_body,
    parse_fields,
    read_json,
)
from serving.api.responses import Stopwatch, answer, model_of
from serving.errors import Refusal
from serving.imaging.codec import PNG
from serving.repository.repository import Model, Zoo
from serving.runtime.latents import MAX_SEED

FOREVER = "max-age=31536000, immutable"
"""What one version draws for a seed does not change: caches may keep it for a year, the most they do."""


SOFTWARE = f"{onnxruntime.__version__} {PIL.__version__} {PNG}"
"""What draws and encodes."""


@dataclass
class Sampling:
    """The routes of models that sample."""

    zoo: Zoo

    async def sample(self, request: Request) -> Response:
        """Draw pictures from seeds or latents."""
        watch = Stopwatch()
        model = model_of(request, self.zoo, "sample")
        asked = await parse_body(SampleRequest, await read_json(request, self.zoo.settings.max_body))
        with model.at_work.hold(min(asked.count, self.zoo.settings.max_images)):
            drawn, seeds = await self.draw(model, asked, watch)
            headers = {"X-Seed": str(seeds[0])} if seeds else {}
            return await answer(model, drawn, asked.format, watch, headers)

    async def draw(self, model: Model, asked: SampleRequest, watch: Stopwatch) -> tuple[Drawn, list[int]]:
        """Draw what a request asks a model for; give the seeds too, none for given latents.

        Raises:
            Refusal: `invalid_request` (400), with the field at fault, or `busy` (429).
        """
        ((graph, spec),) = model.manifest.graphs.items()
        inputs, seeds = inputs_of(asked, spec, model.manifest.labels, self.zoo.settings.max_images)
        watch.lap("parse")
        output = await model.run(graph, inputs)
        watch.lap("engine")
        return Drawn(
            output,
            {"model": model.name, "version": model.version, "seeds": seeds or None},
            [str(seed) for seed in seeds],
            spec.output.range,
            len(model.manifest.labels) if asked.label is None else 0,
        ), seeds

    async def interpolate(self, request: Request) -> Response:
        """Walk between the pictures of seeds."""
        watch = Stopwatch()
        model = model_of(request, self.zoo, "sample")
        asked = await parse_body(InterpolateRequest, await read_json(request, self.zoo.settings.max_body))
        ((graph, spec),) = model.manifest.graphs.items()
        inputs = inputs_of_walk(asked, spec, model.manifest.labels, self.zoo.settings.max_images)
        watch.lap("parse")
        with model.at_work.hold(asked.n):
            output = await model.run(graph, inputs)
            watch.lap("engine")
            about = {"model": model.name, "version": model.version, "seeds": asked.seeds}
            drawn = Drawn(output, about, limits=spec.output.range, milliseconds=asked.milliseconds)
            return await answer(model, drawn, asked.format, watch)

    async def picture(self, request: Request) -> Response:
        """Give the picture of one seed, so that caches may keep it."""
        watch = Stopwatch()
        model = model_of(request, self.zoo, "sample")
        asked = parse_fields(PictureRequest, request.query_params.multi_items()[:8])
        version = model.version
        if asked.version not in (None, version):
            raise Refusal(404, "unknown_version", f"{model.name} is of version {version} now", "version")
        tag = self._tag(model, request.url.path, asked)
        keep = "private" if self.zoo.settings.all_keys else "public"
        headers = {
            "ETag": tag,
            "Cache-Control": f"{keep}, {'no-cache' if asked.version is None else FOREVER}",
        }
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or tag in known:
            return Response(status_code=304, headers=headers)
        label = asked.label
        numbered = (
            label is not None and label not in model.manifest.labels and label.isdecimal() and len(label) < 9
        )
        wanted = SampleRequest(
            seed=_seed(request),
            label=int(label) if label is not None and numbered else label,
            truncation=asked.truncation,
        )
        with model.at_work.hold():
            drawn, _ = await self.draw(model, wanted, watch)
            return await answer(model, drawn, "png", watch, headers)

    @staticmethod
    def _tag(model: Model, path: str, asked: PictureRequest) -> str:
        """Name the bytes of a picture: what they are made of, and by which file."""
        ((graph, file),) = model.engine.variants.items()
        shown = f"{model.manifest.labels} {model.manifest.graphs[graph].output.range} {SOFTWARE}"
        made_of = f"{file.sha256} {model.engine.provider} {path} {asked.label} {asked.truncation} {shown}"
        return f'"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}"'


def _seed(request: Request) -> int:
    """Read the seed in the path."""
    text = request.path_params["seed"]
    if not text.isascii() or not text.isdecimal() or len(text) > 16 or int(text) > MAX_SEED:
        raise Refusal(404, "not_found", f"a seed is a whole number from 0 to {MAX_SEED}", "seed")
    return int(text)
