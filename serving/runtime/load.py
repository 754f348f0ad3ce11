"""Loading of an artifact, by its path or its name, as a pipeline."""

from pathlib import Path

from serving.errors import UserError
from serving.imaging.credentials import Credentials, credentials_from
from serving.imaging.provenance import Maker, Provenance, is_wanted
from serving.runtime.engine import Engine
from serving.runtime.manifest import Precision, ProviderName
from serving.runtime.pipeline import Pipeline
from serving.runtime.pretrained import find_artifact
from serving.runtime.sessions import Options


def load(
    artifact: str | Path,
    *,
    provider: ProviderName = "auto",
    precision: Precision = "fp32",
    threads: int = 0,
    provenance: bool | None = None,
) -> Pipeline:
    """Load an artifact as a pipeline.

    Args:
        artifact: the artifact's folder, or its name: that of a folder in ./artifacts, or of a pretrained
            artifact that comes with the package.
        provider: where the graphs run: `cpu`; `cuda`, which fails if it can't be used; or `auto`, which is
            CUDA if there is an NVIDIA GPU that ONNX Runtime can use, else the CPU.
        precision: precision of the graphs: `fp32`, or `fp16` or `int8` if the artifact has them.
        threads: CPU threads; 0 means one per core.
        provenance: whether image files say that the model made them; by default they do, unless the
            environment variable GANZOO_PROVENANCE is off.

    Raises:
        UserError: there is no such artifact, it has no graph of this precision, its manifest is damaged
            (`ManifestError`), or it can't be run (`EngineError`).
    """
    if threads < 0:
        raise UserError(f"threads must be at least 0; got {threads}")
    folder = find_artifact(artifact)
    engine = Engine(folder, provider, precision, Options(threads=threads))
    for name, variant in engine.variants.items():
        if variant.precision != precision:
            variants = engine.manifest.graphs[name].variants
            raise UserError(
                f"{folder} has no graph {name} of {precision} for the provider {engine.provider}; "
                f"it has {', '.join(f'{each.precision} for {each.provider}' for each in variants)}"
            )
    return pipeline_of(engine, folder, is_wanted() if provenance is None else provenance, credentials_from())


def pipeline_of(
    engine: Engine,
    artifact: Path | None = None,
    provenance: bool = True,
    credentials: Credentials | None = None,
) -> Pipeline:
    """Return a pipeline of an engine's graphs."""
    manifest = engine.manifest
    inputs = {name: graph.inputs for name, graph in manifest.graphs.items()}
    return Pipeline(
        inputs,
        engine.run,
        tiled=engine.tiled,
        labels=manifest.labels,
        version=manifest.version,
        provenance=provenance_of(engine, credentials) if provenance else None,
        provider=engine.provider,
        artifact=artifact,
        manifest=manifest,
        close=engine.close,
    )


def version_of(engine: Engine) -> str:
    """Return the artifact's version, and its precision if not fp32; both determine the image of a seed."""
    smaller = sorted({file.precision for file in engine.variants.values()} - {"fp32"})
    return "-".join([engine.manifest.version, *smaller])


def provenance_of(engine: Engine, credentials: Credentials | None = None) -> Provenance:
    """Return what the images of an artifact say of themselves."""
    manifest = engine.manifest
    return Provenance(Maker.of(manifest.name, version_of(engine), manifest.task, credentials))
