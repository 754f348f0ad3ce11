"""Bounds on the slope of a discriminator: spectral normalisation, and what batch normalisation rules out."""

from torch import nn

from zoo.errors import ConfigError


def normalise_spectrally(player: nn.Module) -> None:
    """Apply spectral normalisation to every linear and convolutional layer (Miyato et al. 2018).

    Embeddings of classes are left out: the bound is on the slope with respect to the image, and an embedding
    that fills an image plane would become 1 / image_size of its size.
    """
    for module in list(player.modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.utils.parametrizations.spectral_norm(module)


def must_be_bounded(discriminator: nn.Module, objective: str, regularizer: str) -> None:
    """Check that batch normalisation does not undo the bound that an objective or a regularizer needs.

    Raises:
        ConfigError: it does.
    """
    if not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in discriminator.modules()):
        return
    if regularizer == "gradient_penalty":
        raise ConfigError(
            "gradient_penalty needs a discriminator without batch normalisation, because a batch of points "
            "between real and fake examples has statistics of its own; use --regularizer r1, or a "
            "discriminator without it, such as --discriminator-norm none"
        )
    if objective == "wasserstein" and regularizer == "none":
        raise ConfigError(
            "the objective wasserstein needs a discriminator with bounded gradients; got one with batch "
            "normalisation, which undoes the bound of spectral_norm; use --regularizer r1, or a "
            "discriminator without it, such as --discriminator-norm none"
        )
