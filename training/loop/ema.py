"""Exponential moving average of the generators' weights, which is previewed, scored and exported."""

import copy

import torch
from torch import nn


class MovingAverage:
    """A moving average of generators, in evaluation mode.

    The decay rises to its value as (1 + step) / (10 + step), so that the initial weights have little
    influence in short runs. Buffers (statistics of batch normalisation) are copied. Sources: Karras et al.
    2018, section 4.1, for the average; Kingma and Ba 2015, section 7.2, for the correction of its start.
    """

    def __init__(self, generators: nn.ModuleDict, decay: float) -> None:
        self.generators = copy.deepcopy(generators).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, generators: nn.ModuleDict, step: int) -> None:
        """Update the average with the generators after a step, counted from 0."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.generators.parameters()), list(generators.parameters()), weight)
        if mine := list(self.generators.buffers()):
            torch._foreach_copy_(mine, list(generators.buffers()))
