"""The moving average of the generators' weights: what is looked at, exported and served."""

import copy

import torch
from torch import nn


class MovingAverage:
    """A copy of the generators that follows them, in evaluation mode.

    The decay rises to its value as (1 + step) / (10 + step), so that a short run does not remember its
    initial weights. Buffers (batch normalisation's statistics) are copied as they are. Source: Karras et al.
    2018, section 4.1, for the average; Kingma and Ba 2015, section 7.2, for why its start wants correction.
    """

    def __init__(self, generators: nn.ModuleDict, decay: float) -> None:
        self.generators = copy.deepcopy(generators).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, generators: nn.ModuleDict, step: int) -> None:
        """Follow the generators by one step, counted from 0."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.generators.parameters()), list(generators.parameters()), weight)
        if mine := list(self.generators.buffers()):
            torch._foreach_copy_(mine, list(generators.buffers()))
