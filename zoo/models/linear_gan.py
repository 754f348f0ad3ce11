"""Linear GAN: a linear generator of a 2-D Gaussian, a test problem with a closed-form solution."""

from dataclasses import dataclass

import torch
from torch import nn

from zoo.adversarial import ObjectiveName, RegularizerName, TwoPlayer, TwoPlayerEntry


@dataclass(frozen=True, kw_only=True)
class LinearGAN(TwoPlayerEntry):
    """Linear generator of a 2-D Gaussian with a closed-form solution, R1 (Mescheder et al. 2018).

    This is a teaching exercise. With data x = n A + mu, n ~ N(0, I), the generator W n + b is optimal when
    b = mu and W W^T = A^T A.
    """

    batch_size: int = 64
    latent_size: int = 2
    regularizer: RegularizerName = "r1"
    regularizer_weight: float = 0.3
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.5, 0.999)  # with 0.9 training oscillates: more than twice the error

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample: a point in the plane."""
        return (2,)

    def build(self, device: torch.device | str = "cpu") -> TwoPlayer:
        """Build a linear generator and a discriminator with 20 and 10 hidden units."""
        generator = Generator(self.latent_size)
        discriminator = nn.Sequential(
            nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, self.score_size)
        )
        return TwoPlayer(self, generator, discriminator, device)


@dataclass(frozen=True, kw_only=True)
class LinearGANSoftmax(LinearGAN):
    """Linear GAN with two-class softmax, small batches and no penalty (after Goodfellow et al. 2014).

    This is the usual form of the teaching exercise. Its training oscillates.
    """

    batch_size: int = 8
    objective: ObjectiveName = "softmax"
    regularizer: RegularizerName = "none"
    learning_rate: float = 0.01


class Generator(nn.Module):
    """Linear generator: latents (N, latent_size) to points (N, 2)."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_size, 2)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return W latent + b."""
        points: torch.Tensor = self.linear(latent)
        return points
