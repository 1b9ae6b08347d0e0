"""What optimisation methods share: getting ready, the choice of losses, the tuning stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.errors import ConfigError, InputError
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Progress, Run, Stage, Stop, Update
from inv3d.core.fit.muon import muon
from inv3d.core.fit.objective import Losses, Objective
from inv3d.core.fit.optimizers import MakeOptimizer, adam, lbfgs
from inv3d.core.fit.options import (
    FitConfig,
    LatentOptions,
    SampledLatentOptions,
    SearchMethod,
    TuningOptions,
)
from inv3d.core.fit.schedule import Schedule, constant, ramped, warmed
from inv3d.core.fit.terms import LossTerm
from inv3d.core.fit.turns import Turns
from inv3d.core.generator import Generator
from inv3d.core.loss import Target

_HISTORY = 20
PULL, NOISE = "w_norm", "noise"


def prepare(generator: Generator, capture: Capture, context: Context, views: int = 1) -> Capture:
    """Put generator and capture in place for a fit and return the capture.

    The generator is frozen, in eval mode, on the context's device, and draws from its generator.

    Args:
        generator: moved in place.
        capture: what is fitted.
        context: of the run.
        views: how many the method needs at least.

    Raises:
        InputError: where there are fewer views, or images of another size than the generator's.
    """
    if len(capture) < views:
        raise InputError(
            f"{len(capture)} view given, the method needs at least {views}; give more with --views"
        )
    size, expected = tuple(capture.images.shape[-2:]), generator.spec.resolution
    if size != (expected, expected):
        raise InputError(
            f"images of {capture.source or 'the capture'}: {size[1]}x{size[0]} pixels, expected "
            f"{expected}x{expected} as generator {generator.spec.name} makes them; resize them"
        )
    generator.to(context.device).eval().requires_grad_(False)
    generator.rng = context.state.generators["render"]
    context.state.dtype = generator.dtype
    return capture.to(context.device, generator.dtype)


def loss_terms(
    generator: Generator, config: FitConfig, stage: Mapping[str, LossTerm]
) -> dict[str, LossTerm]:
    """Return the losses of a stage: the generator's, the method's over them, the stage's over all.

    An entry replaces the one below it, but keeps its weight unless it names one.

    Raises:
        ConfigError: where there are none.
    """
    defaults = generator.spec.default_losses if config.default_losses else {}
    terms = {name: LossTerm(weight=weight) for name, weight in defaults.items()}
    for layer in (config.losses, stage):
        terms |= {name: term.over(terms.get(name)) for name, term in layer.items()}
    if not terms:
        raise ConfigError(
            "option 'losses' is empty and there are no default losses; name at least one, such as "
            "--set losses.mse=1"
        )
    return terms


def latent_terms(
    options: SampledLatentOptions, terms: Mapping[str, LossTerm], *, noise: bool = True
) -> dict[str, LossTerm]:
    """Return the losses of a latent stage: what its options pull with, then its own.

    Args:
        options: of the stage.
        terms: its own losses, which win over the options.
        noise: whether noise maps are optimised where the options say so.
    """
    weights = {PULL: options.pull, NOISE: options.noise_maps if noise else 0.0}
    return {name: LossTerm(weight=w) for name, w in weights.items() if w} | dict(terms)


def latent_variables(w: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a latent stage changes: latents, and noise maps where there are some."""
    return {"w": w} | {f"noise/{name}": value for name, value in maps.items()}


def start_latent(
    generator: Generator, context: Context, *, tuned: bool, camera: Camera | None = None
) -> Tensor | None:
    """Return the latents of `--init` for cameras, [N, num_ws, w_dim]; None without `--init`.

    Args:
        generator: takes over the tuning of `--init` where wanted.
        context: with the inversion to start from.
        tuned: whether to take over the tuning.
        camera: N cameras; the frontal one of the generator if None.

    Raises:
        WeightsError: where the inversion is of another generator.
    """
    init = context.init
    if init is None:
        return None
    init.check_generator(generator)
    if tuned:
        init.tune(generator)
    if init.offset:
        context.notice("--init: its scene offset isn't used, only its latent")
    camera = generator.spec.camera.front() if camera is None else camera
    ws = init.ws_for(camera.to("cpu"))
    return ws.to(generator.device, generator.dtype)


def latent_rate(options: LatentOptions) -> Schedule:
    """Return the learning rate of the latent stage."""
    return ramped(options.lr, options.steps, rampup=options.rampup, rampdown=options.rampdown)


def searches(options: SearchMethod) -> bool:
    """Whether a line search takes the place of rates, so that the function must stand still."""
    return options.optimizer == "lbfgs"


def latent_group(variables: Mapping[str, Tensor], options: LatentOptions) -> Group:
    """Return the variables of the latent stage with the optimiser and the rate of its options."""
    if isinstance(options, SearchMethod) and searches(options):
        return Group(variables, constant(1.0), optimizer=lbfgs(history=_HISTORY))
    return Group(variables, latent_rate(options))


def changing_noise_maps(generator: Generator, context: Context, weight: float) -> dict[str, Tensor]:
    """Return the generator's noise maps where their regulariser has a weight; else none.

    Raises:
        ConfigError: where the generator has none.
    """
    maps = generator.noise_maps() if weight else {}
    if weight and not maps:
        raise ConfigError(
            f"option '{context.option('latent.noise_maps')}': generator {generator.spec.name} has "
            "no noise maps; set it to 0"
        )
    return maps


@torch.no_grad()
def standardise(maps: Mapping[str, Tensor]) -> None:
    """Bring noise maps back to mean 0 and variance 1, in place, as StyleGAN2's projector does."""
    for value in maps.values():
        value -= value.mean()
        value *= value.square().mean().rsqrt()


@contextmanager
def trainable(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Let gradients reach tensors for a while."""
    variables = dict(tensors)
    for tensor in variables.values():
        tensor.requires_grad_(True)
    try:
        yield variables
    finally:
        for tensor in variables.values():
            tensor.requires_grad_(False)
            tensor.grad = None


def stop_below(
    limit: float | None, losses: Mapping[str, object], watched: Sequence[str], option: str
) -> Stop | None:
    """Return the test whether the sum of some losses is at a limit or below.

    Args:
        limit: of the sum over the views; None never stops.
        losses: of the stage, by name.
        watched: names of those that are summed.
        option: that names them, for the message.

    Raises:
        ConfigError: where one that is watched isn't one of the stage.
    """
    if limit is None:
        return None
    for name in watched:
        if name not in losses:
            raise ConfigError(
                f"option '{option}': '{name}' isn't one of the losses of this stage "
                f"({', '.join(losses)}); name one of them, or set "
                f"{option.rpartition('.')[0]}.threshold to null"
            )
    return lambda values: sum(values[name] for name in watched) <= limit


def tune(
    generator: Generator,
    context: Context,
    options: TuningOptions,
    updates: Mapping[str, Update | Run],
    *,
    buffers: Mapping[str, Tensor] | None = None,
    stop: Stop | None = None,
    round: int = 1,
) -> Iterator[Progress]:
    """Run the tuning stage over all parameters of the generator."""
    ramps = {"rampup": options.rampup, "rampdown": options.rampdown}
    rate = warmed(options.lr, options.steps, **ramps)
    with trainable(dict(generator.named_parameters())) as parameters:
        yield from context.run(
            Stage(
                name="tuning",
                steps=options.steps,
                groups={"generator": Group(parameters, rate, optimizer=optimizer_of(options))},
                updates=updates,
                buffers=buffers or {},
                keep=options.keep,
                stop=stop,
                round=round,
            )
        )


def optimizer_of(options: TuningOptions) -> MakeOptimizer:
    """Return the maker of the optimiser that a tuning stage is asked to take."""
    return muon() if options.optimizer == "muon" else adam


def looks_in_turn(
    generator: Generator, capture: Capture, losses: Losses, turns: Turns, **more: Any
) -> list[Look]:
    """Return a look for every step of a round; losses over its views stand for those over all.

    Args:
        generator: see `target_of`.
        capture: all views, on the device.
        losses: of every view.
        turns: of the views.
        more: other fields of the targets, the same for all views.
    """
    if turns.round == 1:
        return [Look(capture.camera, Objective(losses, target_of(generator, capture, **more)))]
    looks = []
    for step in range(turns.round):
        views = capture[turns.at(step)]
        weights = torch.full((turns.each,), turns.factor).to(views.images)
        target = target_of(generator, views, weights=weights, **more)
        looks.append(Look(views.camera, Objective(losses, target)))
    return looks


def target_of(generator: Generator, capture: Capture, **more: Any) -> Target:
    """Return a capture as the target of losses.

    Args:
        generator: whose number of rays raw images have.
        capture: on the device.
        more: other fields of the target, such as `anchor` or `maps`.
    """
    rays = generator.spec.render_resolution
    return Target(capture.images, capture.masks, capture.depths, rays=rays, **more)
