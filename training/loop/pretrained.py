"""Weights of pretrained networks, handed to the trainers of the entries whose discriminators contain them."""

from collections.abc import Callable

from torch import Tensor

from serving.errors import UserError
from training.evaluation.efficientnet import load_network
from zoo.entry import Entry, Trainer

NETWORKS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "efficientnet": lambda: load_network().state_dict(),
}
"""Functions that read the weights of networks, by the names of their features."""


def load_pretrained(entry: Entry, trainer: Trainer) -> None:
    """Hand the weights of the network that an entry names to its trainer, if it names one.

    Torch's random state does not change.

    Raises:
        UserError: there is no such network, or its weights can't be read.
    """
    if (name := entry.pretrained) is None:
        return
    if name not in NETWORKS:
        raise UserError(f"the pretrained network must be one of {', '.join(NETWORKS)}; got {name!r}")
    trainer.load_pretrained(NETWORKS[name]())
