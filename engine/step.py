"""One training step, the same for every recipe."""
from collections.abc import Mapping

import torch
from torch import Tensor

from datasets.pipeline import Pipeline
from engine import world
from engine.state import State
from recipes import Player


def train_step(state: State, players: tuple[Player, ...], pipeline: Pipeline, weights: Mapping[str, float],
               precision: str) -> list[Tensor]:
    """Let every player make its updates. Returns the losses [per player: its terms, unweighted, then its weighted
    total] of the last update of each, on the device; nothing is read back to the host."""
    values = []
    for number, player in enumerate(players):
        for turn in range(player.times):
            position = state.step * player.times + turn
            world.seed_noise(pipeline.seed, number, position)
            G = state.nets.get("G")
            z = G.prior(pipeline.batch_size, pipeline.device) if G is not None else None
            batch = pipeline.batch(number, position, z, state.step)
            with torch.autocast(pipeline.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                terms = player.loss(state.nets, batch)
            total = sum(weights.get(f"{player.name}/{name}", 1.0) * term for name, term in terms.items())
            move(state, player, total)
            if "D" in player.trains:
                state.update_average(position + 1)
        values += [*(terms[name].detach() for name in player.terms), total.detach()]
    state.step += 1
    return values


def move(state: State, player: Player, total: Tensor) -> None:
    """One update of the player's own weights, and of no others: gradients stop at them."""
    parameters, optimiser = state.moves[player.name], state.optimisers[player.name]
    optimiser.zero_grad(set_to_none=True)
    total.backward(inputs=parameters)
    if player.clip:
        torch.nn.utils.clip_grad_norm_(parameters, player.clip)
    optimiser.step()


def rate_factor(step: int, steps: int, steps_per_epoch: int, decay_from: float) -> float:
    """Share of the learning rate at a step: 1 up to `decay_from` of the training, then linearly to 0; constant within
    an epoch, as min(3 - e/400, 1) of 1200 epochs in the code of Salimans et al. 2016 is."""
    if decay_from >= 1:
        return 1.0
    begun = step // steps_per_epoch * steps_per_epoch
    return min((1 - begun / steps) / (1 - decay_from), 1.0)
