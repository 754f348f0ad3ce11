"""Tells when a training goes wrong: numbers that are none, a saturated discriminator, lost diversity."""

import math
import sys

import torch
from torch import Tensor, nn

from training.run.config import TrainConfig

SATURATED, PATIENCE = 0.98, 10
"""A discriminator this sure, from 0 undecided to 1, at so many looks in a row has nothing to teach."""

LEAST_DIVERSITY = 0.2
"""Below this share of the greatest diversity seen, a generator has lost it."""

WORSE = 2.0
"""A score that is this many times the best is a collapse."""

REMEDIES = {
    "saturation": "the discriminator is saturated, it tells every fake and teaches nothing more: try "
    "--regularizer r1, --augment translation, or a lower --discriminator-learning-rate",
    "diversity": "the generator has lost its diversity, its samples are alike: try a lower --learning-rate, "
    "or, where the entry has them, --objective relativistic --regularizer r1+r2",
    "score": "the score is more than twice its best: try a lower --learning-rate, or, where the entry has "
    "it, --schedule linear",
}
"""What goes wrong where a run may go on, and what helps."""


class Diverged(ArithmeticError):
    """A training went wrong.

    Attributes:
        onset: the step at which it may have begun; a checkpoint of it or of an earlier one is from before.
    """

    exit_status = 3

    def __init__(self, message: str, onset: int) -> None:
        super().__init__(message)
        self.onset = onset


def must_be_finite(step: int, scalars: dict[str, float], *players: nn.ModuleDict) -> None:
    """Refuse to go on from a number that is none, in what a step tells or in the players themselves.

    Raises:
        Diverged: there is one; it is named.
    """
    for name, value in scalars.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at step {step}; what is saved is from before", step - 1)
    for player in players:
        for name, weights in player.state_dict().items():
            if not torch.isfinite(weights).all():
                message = f"{name} is not finite at step {step}; what is saved is from before"
                raise Diverged(message, step - 1)


class Monitor:
    """Looks at a run as it goes; what is wrong is raised, or warned of once where it may go on.

    What it has seen is part of a run's state, so it looks at the steps that the run's intervals name, and not
    at those of an interruption.

    Args:
        run: its intervals, and whether what is wrong is warned of or raised.
    """

    def __init__(self, run: TrainConfig) -> None:
        self.run = run
        self.warned: set[str] = set()
        self.looks = 0
        self.unsure = 0
        self.diverse = 0
        self.greatest = 0.0

    def state_dict(self) -> dict[str, float]:
        """Give what has been seen; a resumed run sees on from there."""
        return {name: getattr(self, name) for name in ("looks", "unsure", "diverse", "greatest")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take back what `state_dict` gave."""
        vars(self).update(state)

    def losses(self, step: int, scalars: dict[str, float]) -> None:
        """Look at how sure the discriminator is.

        Raises:
            Diverged: it is saturated, in a run that goes back.
        """
        if step % self.run.log_every:
            return
        if scalars.get("saturation", 0.0) <= SATURATED:
            self.looks, self.unsure = 0, step
            return
        self.looks += 1
        if self.looks >= PATIENCE:
            self._tell("saturation", step, self.unsure)

    def samples(self, step: int, samples: Tensor) -> None:
        """Look at what a generator makes of its probe, (N, ...): how far apart the samples are.

        Raises:
            Diverged: they have become alike, in a run that goes back.
        """
        if step % self.run.checkpoint_every:
            return
        diversity = samples.float().flatten(1).std(0).mean().item()
        self.greatest = max(self.greatest, diversity)
        if diversity < LEAST_DIVERSITY * self.greatest:
            self._tell("diversity", step, self.diverse)
        else:
            self.diverse = step

    def score(self, step: int, history: list[tuple[int, float]], reference: float) -> None:
        """Look at how a run's score, lower the better, has come along: its steps and values.

        Raises:
            Diverged: it is far from its best, in a run that goes back.
        """
        before, (_, last) = history[:-1], history[-1]
        if before and last > WORSE * max(min(value for _, value in before), reference):
            self._tell("score", step, before[-1][0])

    def _tell(self, kind: str, step: int, onset: int) -> None:
        message = f"{REMEDIES[kind]} (seen at step {step})"
        if self.run.on_collapse == "rollback":
            raise Diverged(message, onset)
        if kind not in self.warned:
            self.warned.add(kind)
            print(f"warning: {message}", file=sys.stderr)
