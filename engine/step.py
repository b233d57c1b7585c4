"""One training step, the same for every recipe."""
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import ops
from config import Config, UserError, brief
from datasets.pipeline import Batch, Pipeline
from engine import world
from engine.graph import Graph
from engine.state import State
from recipes import Player


class Step:
    """Called, lets every player make its updates. On CUDA each player's update is a graph after the first few."""

    def __init__(self, state: State, players: tuple[Player, ...], pipeline: Pipeline, weights: Mapping[str, float],
                 cfg: Config):
        self.state, self.players, self.pipeline = state, players, pipeline
        self.done = torch.zeros((), device=pipeline.device)  # steps, where the updates find them
        if cfg.compile:
            torch._dynamo.config.recompile_limit = 64  # each of several runs in one process compiles for its own nets
        if cfg.compile and state.capturable:
            # A width of 250 becomes 256, which a GPU multiplies faster; what is independent shares kernels.
            from torch._inductor import config as inductor
            inductor.force_shape_pad = inductor.combo_kernels = True
            state.toward = torch.compile(state.toward, dynamic=False)
            for optimiser in state.optimisers.values():
                if isinstance(optimiser, ops.Adam):
                    optimiser.compile()
        self.updates = [self._update(player, weights, cfg) for player in players]
        if cfg.graph and state.capturable:
            self.updates = [Graph(update, f"{cfg.recipe}, update of {player.name}")
                            for update, player in zip(self.updates, players, strict=True)]

    def __call__(self) -> Tensor:
        """The losses [per player: its terms, unweighted, then its weighted total] of the last update of each, on the
        device, float32; nothing is read back to the host."""
        values = []
        self.done.fill_(self.state.step)
        for number, (player, update) in enumerate(zip(self.players, self.updates, strict=True)):
            for turn in range(player.times):
                position = self.state.step * player.times + turn
                judges = self.state.evaluated in player.trains
                fetched = self.pipeline.fetch(number, position, labelled=judges)
                if judges:
                    self.state.set_average_rate(position + 1)
                world.seed_noise(self.pipeline.seed, number, position)
                losses = update(*fetched)
            values.append(losses)
        self.state.step += 1
        return torch.cat(values)

    def _update(self, player: Player, weights: Mapping[str, float], cfg: Config) -> Callable[..., Tensor]:
        """The player's update as a function of what the pipeline fetched; its losses."""
        # `self` is left out of `update`: in a cycle a run would keep its memory while the next ones are built.
        state, pipeline, nets, done = self.state, self.pipeline, self.state.seen, self.done
        factors = {name: weights.get(f"{player.name}/{name}", 1.0) for name in player.terms}

        def judged(batch: Batch) -> tuple[Tensor, Tensor]:
            """The losses as they are told, and the total that is minimised."""
            with torch.autocast(pipeline.device.type, torch.bfloat16, enabled=cfg.precision == "bfloat16"):
                terms = player.loss(nets, batch)
            first, *others = (term if factors[name] == 1 else factors[name] * term for name, term in terms.items())
            total = sum(others, start=first)
            return torch.stack([*(terms[name] for name in player.terms), total]).detach(), total

        batch_of = pipeline.batch
        if cfg.compile:
            judged = torch.compile(judged)
        if cfg.compile and state.capturable and not (cfg.flip or cfg.shift):  # whose rows Inductor cannot bound
            batch_of = torch.compile(batch_of, dynamic=False)

        def update(*fetched: Tensor) -> Tensor:
            G = state.nets.get("G")
            z = G.prior(pipeline.batch_size, pipeline.device) if G is not None else None
            batch = batch_of(fetched, done, z)
            told, total = judged(batch)
            move(state, player, total)
            if player.again:
                _, second = judged(batch._replace(z=G.prior(pipeline.batch_size, pipeline.device)))
                move(state, player, second, skipped=~player.again(total.detach(), batch.step))
            if state.evaluated in player.trains:
                state.update_average()
            return told

        return guarded(update) if cfg.compile else update


def guarded(update: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A compiled update, with UserError where torch.compile fails: forwards, or backwards, which it compiles when
    gradients are first asked for."""

    def checked(*inputs: Tensor) -> Tensor:
        try:
            return update(*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = brief(error)
            raise UserError(f"--compile: torch.compile failed ({reason}); leave the flag out") from None

    return checked


def move(state: State, player: Player, total: Tensor, skipped: Tensor | None = None) -> None:
    """One update of the player's own weights, and of no others: gradients stop at them. Where `skipped`, a bool on the
    device, is true, nothing moves; a fused optimiser finds that out without a read back to the host."""
    parameters, optimiser = state.moves[player.name], state.optimisers[player.name]
    for p in parameters:  # what optimiser.zero_grad does, without its profiling
        p.grad = None
    total.backward(inputs=parameters)
    if player.clip:
        torch.nn.utils.clip_grad_norm_(parameters, player.clip)
    optimiser.found_inf = None if skipped is None else skipped.float()
    optimiser.step()


def rate_factor(step: int, steps: int, steps_per_epoch: int, decay_from: float) -> float:
    """Share of the learning rate at a step: 1 up to `decay_from` of the training, then linearly to 0; constant within
    an epoch, as min(3 - e/400, 1) of 1200 epochs in the code of Salimans et al. 2016 is. With fewer than ten epochs,
    which would end far from 0, it falls at each step."""
    if decay_from >= 1:
        return 1.0
    constant = steps_per_epoch if steps >= 10 * steps_per_epoch else 1
    begun = step // constant * constant
    return min((1 - begun / steps) / (1 - decay_from), 1.0)
