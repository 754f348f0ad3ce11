"""WGAN-GP (Gulrajani et al. 2017): Wasserstein objective with a gradient penalty."""

from dataclasses import dataclass
from typing import Literal

from zoo.adversarial import ObjectiveName, RegularizerName, ScheduleName
from zoo.models.dcgan import DCGAN
from zoo.models.sngan import SNGAN


@dataclass(frozen=True, kw_only=True)
class WGANGP(DCGAN):
    """Wasserstein GAN with gradient penalty, five critic updates per step (Gulrajani et al. 2017)."""

    width: int = 64
    objective: ObjectiveName = "wasserstein"
    regularizer: RegularizerName = "gradient_penalty"
    regularizer_weight: float = 10.0
    regularizer_interval: int = 1
    discriminator_norm: Literal["batch", "none"] = "none"
    discriminator_steps: int = 5
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.9)
    schedule: ScheduleName = "constant"


@dataclass(frozen=True, kw_only=True)
class WGANGPResNet(SNGAN):
    """Wasserstein GAN with gradient penalty on residual networks (Gulrajani et al. 2017, section 5.4).

    The networks are those of SNGAN, which derive from this paper. The critic uses global sum pooling. The
    paper uses global mean pooling.
    """

    objective: ObjectiveName = "wasserstein"
    regularizer: RegularizerName = "gradient_penalty"
    regularizer_weight: float = 10.0
    spectral_norm: bool = False
    generator_width: int = 128
