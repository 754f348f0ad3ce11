"""The router of the HTTP API."""

from starlette.routing import Route, Router

from serving.api import pages, responses
from serving.api.catalogue import Catalogue
from serving.api.open_inference import routes as open_inference
from serving.api.open_inference.routes import OpenInference
from serving.api.sampling import SamplingRoutes
from serving.api.translation import TranslationRoutes
from serving.api.typed_calls import Schema, TypedCalls
from serving.repository.repository import ModelRepository

ERROR_BODIES = {"/v2": open_inference.error_body, "": responses.error_body}
"""Functions that return the body of an error response, by path prefix."""


def router(repository: ModelRepository, schema: Schema = dict) -> Router:
    """Return the router of a model repository; routes are matched in order, frequent ones first.

    Args:
        repository: the models.
        schema: function that returns BentoML's schema of the typed calls.
    """
    catalogue, sampling = Catalogue(repository), SamplingRoutes(repository)
    translation, inference = TranslationRoutes(repository), OpenInference(repository)
    catalogue.routes = [
        Route("/v1/models/{model}/sample", sampling.sample, methods=["POST"]),
        Route("/v1/models/{model}/samples/{seed}.png", sampling.picture),
        Route("/v1/models/{model}/interpolate", sampling.interpolate, methods=["POST"]),
        Route("/v1/models/{model}/translate", translation.translate, methods=["POST"]),
        *inference.routes(),
        *TypedCalls(repository, sampling, translation, schema).routes(),
        Route("/v1/models", catalogue.list_models),
        Route("/v1/models/{model}", catalogue.show_model),
        Route("/livez", catalogue.alive),
        Route("/readyz", catalogue.ready),
        Route("/metrics", catalogue.metrics),
        Route("/docs.json", catalogue.openapi),
        Route("/docs", pages.docs),
    ]
    return Router([*catalogue.routes, *pages.routes()], redirect_slashes=False)
