"""The registry of entries, one line each; listing them does not import torch."""

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ConfigError

if TYPE_CHECKING:
    from zoo.entry import Entry

ENTRIES: dict[str, str] = {
    "linear-gan": "zoo.models.linear_gan:LinearGAN",
    "linear-gan-softmax": "zoo.models.linear_gan:LinearGANSoftmax",
    "mlp-gan": "zoo.models.mlp_gan:MLPGAN",
    "mlp-gan-compact": "zoo.models.mlp_gan:MLPGANCompact",
    "mlp-gan-deep": "zoo.models.mlp_gan:MLPGANDeep",
    "mlp-gan-vector": "zoo.models.mlp_gan:MLPGANVector",
    "mlp-gan-vector-sgd": "zoo.models.mlp_gan:MLPGANVectorSGD",
    "goodfellow-2014": "zoo.models.goodfellow_2014:Goodfellow2014",
    "dcgan": "zoo.models.dcgan:DCGAN",
    "dcgan-2015": "zoo.models.dcgan:DCGAN2015",
    "cdcgan": "zoo.models.cdcgan:CDCGAN",
    "wgan-gp": "zoo.models.wgan_gp:WGANGP",
    "wgan-gp-resnet": "zoo.models.wgan_gp:WGANGPResNet",
    "sngan": "zoo.models.sngan:SNGAN",
    "sngan-cnn": "zoo.models.sngan:SNGANCNN",
    "sngan-projection": "zoo.models.sngan_projection:SNGANProjection",
    "fastgan": "zoo.models.fastgan:FastGAN",
    "fastgan-projection": "zoo.models.fastgan_projection:FastGANProjection",
    "projected-gan": "zoo.models.projected_gan:ProjectedGAN",
    "r3gan": "zoo.models.r3gan:R3GAN",
    "r3gan-cifar10": "zoo.models.r3gan:R3GANCIFAR10",
    "cyclegan": "zoo.models.translate.cyclegan:CycleGAN",
    "cut": "zoo.models.translate.cut:CUT",
    "fastcut": "zoo.models.translate.cut:FastCUT",
    "pix2pix": "zoo.models.translate.pix2pix:Pix2Pix",
    "srresnet": "zoo.models.translate.srresnet:SRResNet",
    "esrgan": "zoo.models.translate.esrgan:ESRGAN",
}


def load(name: str) -> type["Entry"]:
    """Import an entry's class by its name in the zoo or by an import path such as `my_lab.wgan:WGAN`.

    Raises:
        ConfigError: the name is not in the zoo, or the path can't be imported.
    """
    path = ENTRIES.get(name, name)
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ConfigError(
            f"there is no entry {name!r}; use one of {', '.join(ENTRIES)} or an import path such as "
            "my_lab.wgan:WGAN"
        )
    try:
        entry = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"the entry {name!r} can't be imported: {error}") from error

    from zoo.entry import Entry

    if not (isinstance(entry, type) and issubclass(entry, Entry)):
        raise ConfigError(f"an entry must be a subclass of zoo.entry.Entry; got {name!r}")
    return entry


def name_of(entry: type["Entry"]) -> str:
    """Return the name of an entry's class in the zoo, or its import path."""
    path = f"{entry.__module__}:{entry.__qualname__}"
    return next((name for name, known in ENTRIES.items() if known == path), path)


def summary(name: str) -> str:
    """Return the first line of an entry's docstring, read from its source without importing it."""
    module, _, attribute = ENTRIES[name].partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the module {module} of the entry {name!r} can't be found")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute)
    return (ast.get_docstring(next(classes)) or "").partition("\n")[0]
