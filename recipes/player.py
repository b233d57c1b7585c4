"""The two records of which every recipe is made."""
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from config import Config, Spec

Loss = Callable[[dict, Any], dict[str, Tensor]]


class Player(NamedTuple):
    """One side of the game. `loss(nets, batch)` gives {term: scalar} with exactly the names in `terms`."""

    name: str
    trains: tuple[str, ...]  # nets whose weights it moves
    terms: tuple[str, ...]
    loss: Loss
    optimiser: Callable[[list], Optimizer]  # parameters -> optimiser at the full learning rate
    times: int = 1  # updates per step, each on a batch of its own
    clip: float = 0.0  # largest global norm of its gradient (0: not clipped)
    # (weighted total, step) -> whether it makes a second update, of the same images and another z; on the device.
    again: Callable[[Tensor, Tensor], Tensor] | None = None


class Recipe(NamedTuple):
    """A published method. `published(spec)` gives its settings for a data set that differ from the defaults."""

    name: str
    citation: str
    settings: type[Config]
    published: Callable[[Spec], dict[str, Any]]
    players: Callable[[Config], tuple[Player, ...]]
    nets: tuple[str, ...] = ("D", "G")  # all that it may train, first the one whose average is evaluated
    # Of the data-dependent initialisation; None: there is none.
    init_images: Callable[[Config], Literal["pool", "labelled"] | None] = lambda cfg: "labelled"
    rate: Callable[[Config, int, int], float] = lambda cfg, step, steps_per_epoch: 1.0  # of all learning rates, a share
    second_view: bool = False  # whether unlabelled images come twice in a batch, each time augmented anew
    evaluated: Literal["classifier", "discriminator", "density"] = "classifier"  # what the first of its nets is
    # Images that this net judges, in evaluation, in the time that a step takes for each image of a batch: measured on
    # two cores with conv nets, where they are fewest, because evaluation is float32.
    cost: float = 9

    @property
    def classifies(self) -> bool:
        """If not, there are no classes and no labels for it."""
        return self.evaluated == "classifier"

    def trained(self, cfg: Config) -> tuple[str, ...]:
        """Those of its nets that some player trains with these settings."""
        moved = {net for player in self.players(cfg) for net in player.trains}
        return tuple(net for net in self.nets if net in moved)
