"""The HTTP contract: which path is whose."""

from starlette.routing import Route, Router

from serving.api import pages, responses
from serving.api.catalogue import Catalogue
from serving.api.open_inference import routes as open_inference
from serving.api.open_inference.routes import OpenInference
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.repository.repository import ModelRepository

ERROR_BODIES = {"/v2": open_inference.error_body, "": responses.error_body}
"""How errors are written, by a path's beginning."""


def router(repository: ModelRepository) -> Router:
    """Make the ASGI app of all routes over a server's models; they are tried in order, hot ones first."""
    catalogue, sampling = Catalogue(repository), SamplingRoutes(repository)
    translation, inference = TranslationRoutes(repository), OpenInference(repository)
    catalogue.routes = [
        Route("/v1/models/{model}/sample", sampling.sample, methods=["POST"]),
        Route("/v1/models/{model}/samples/{seed}.png", sampling.picture),
        Route("/v1/models/{model}/interpolate", sampling.interpolate, methods=["POST"]),
        Route("/v1/models/{model}/translate", translation.translate, methods=["POST"]),
        *inference.routes(),
        Route("/v1/models", catalogue.list_models),
        Route("/v1/models/{model}", catalogue.show_model),
        Route("/livez", catalogue.alive),
        Route("/readyz", catalogue.ready),
        Route("/metrics", catalogue.metrics),
        Route("/docs.json", catalogue.openapi),
        Route("/docs", catalogue.docs),
    ]
    return Router([*catalogue.routes, *pages.routes()], redirect_slashes=False)
