"""Detection of divergence: non-finite numbers, a saturated discriminator, lost diversity, a worse score."""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.run.train_config import TrainConfig

SATURATED, PATIENCE = 0.98, 10
"""Saturation, from 0 undecided to 1 certain, that counts as saturated after so many consecutive checks."""

LEAST_DIVERSITY = 0.2
"""Fraction of the highest diversity of the run below which diversity counts as lost."""

WORSE = 2.0
"""Multiple of the best score above which a score counts as a collapse."""

REMEDIES = {
    "saturation": "the discriminator is saturated: it separates real and fake examples, and the generator no "
    "longer improves; try --regularizer r1, --augment-target 0.6 or a lower --discriminator-learning-rate",
    "diversity": "the generator has lost diversity: its samples are similar to each other; try a lower "
    "--learning-rate or, if the entry has them, --objective relativistic --regularizer r1+r2",
    "score": "the score is more than twice its best value; try a lower --learning-rate or, if the entry has "
    "it, --schedule linear",
}
"""Warning and advice for each kind of collapse."""

ADVICE = "the saved checkpoints are from earlier steps; try a lower --learning-rate"
"""Advice for numbers that are not finite."""


class Diverged(ArithmeticError):
    """Training diverged or collapsed.

    Attributes:
        onset: last step before the trouble; checkpoints up to this step are good.
    """

    exit_status = 3

    def __init__(self, message: str, onset: int) -> None:
        super().__init__(message)
        self.onset = onset


def must_be_finite(step: int, scalars: dict[str, float], *players: nn.ModuleDict) -> None:
    """Check that a step's scalars and the players' weights are finite.

    Raises:
        Diverged: a scalar or a weight is not finite. The message names it.
    """
    for name, value in scalars.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at step {step}; {ADVICE}", step - 1)
    for player in players:
        for name, weights in player.state_dict().items():
            if not torch.isfinite(weights).all():
                raise Diverged(f"{name} is not finite at step {step}; {ADVICE}", step - 1)


class Monitor:
    """Monitor of a run that detects collapse and either warns once or raises `Diverged`.

    Its state is part of the checkpoint. It checks only at the steps of the run's intervals, and not at the
    step of an interruption, so that a resumed run behaves like an uninterrupted one.

    Args:
        run: configuration with the intervals and the reaction to a collapse.
    """

    def __init__(self, run: TrainConfig) -> None:
        self.run = run
        self.warned: set[str] = set()
        self.looks = 0
        self.unsure = 0
        self.diverse = 0
        self.greatest = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return the state that a resumed run continues from."""
        return {name: getattr(self, name) for name in ("looks", "unsure", "diverse", "greatest")}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state returned by `state_dict`.

        Raises:
            TypeError: a value is not a number.
            KeyError: a name is unknown.
        """
        own = self.state_dict()
        for name, value in state.items():
            if not isinstance(value, int | float):
                raise TypeError(f"{name} of the monitor must be a number; got {value!r}")
            vars(self)[name] = type(own[name])(value)

    def losses(self, step: int, scalars: dict[str, float]) -> None:
        """Check the saturation of the discriminator.

        Raises:
            Diverged: the discriminator is saturated, and `on_collapse` is rollback.
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
        """Check the diversity of a generator's preview samples, (N, ...): their mean standard deviation.

        Raises:
            Diverged: diversity is lost, and `on_collapse` is rollback.
        """
        if step % self.run.checkpoint_every:
            return
        diversity = samples.float().flatten(1).std(0).mean().item()
        self.greatest = max(self.greatest, diversity)
        if diversity < LEAST_DIVERSITY * self.greatest:
            self._tell("diversity", step, self.diverse)
        else:
            self.diverse = step

    def score(self, step: int, history: Sequence[tuple[int, float]], reference: float) -> None:
        """Compare a run's last score with its best; `history` has steps and values, lower is better.

        Raises:
            Diverged: the score is more than twice the best, and `on_collapse` is rollback.
        """
        before, (_, last) = history[:-1], history[-1]
        if before and last > WORSE * max(min(value for _, value in before), reference):
            self._tell("score", step, before[-1][0])

    def _tell(self, kind: str, step: int, onset: int) -> None:
        message = f"{REMEDIES[kind]} (detected at step {step})"
        if self.run.on_collapse == "rollback":
            raise Diverged(message, onset)
        if kind not in self.warned:
            self.warned.add(kind)
            print(f"warning: {message}", file=sys.stderr)
