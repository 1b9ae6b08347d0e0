"""What every loss is held to: one number a view, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inv3d.core.errors import ConfigError, InputError
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator
from inv3d.core.loss import AnyLoss, Loss, Target
from inv3d.core.scene import OUTPUTS, Rendering
from inv3d.testing import common_checks
from inv3d.testing.subjects import Subject, cameras, finite, latents, near, shaped
from inv3d.testing.suite import DoesntApply, Suite

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
common_checks.described(SUITE)
VIEWS = 3
TOLERANCE = 1e-3
# of smaller losses the rounding of what they're computed from is larger than the tolerance
_LEAST = 1e-3


def _loss(subject: Subject) -> AnyLoss:
    loss: AnyLoss = subject.plugin
    return loss


def _target(subject: Subject) -> Target:
    """Views of a head with all that a target can have."""
    generator = subject.stage()
    seen = _rendered(generator, 0)
    image = seen.require("image")
    side = (image.shape[-2], image.shape[-1])
    mask = torch.nn.functional.interpolate(seen.require("mask"), side, mode="bilinear").clamp(0, 1)
    maps = {name: value.detach() + 0.1 for name, value in generator.noise_maps().items()}
    ws = latents(generator, 1)[0]
    return Target(
        image,
        mask,
        seen.require("depth"),
        ws,
        maps,
        rays=generator.spec.render_resolution,
        maps={"visible": mask},
    )


@torch.no_grad()
def _rendered(generator: Generator, seed: int) -> Rendering:
    scene = generator.synthesize(latents(generator, 1, seed))
    return generator.render(scene, cameras(generator, VIEWS), outputs=generator.spec.outputs)


def _prepared(loss: AnyLoss, target: Target) -> Any:
    """Let the loss prepare a target that has all that a capture can have.

    Raises:
        DoesntApply: where it wants more, which only some methods have.
    """
    try:
        return loss.prepare(target)
    except InputError as error:
        raise DoesntApply(f"needs what a capture doesn't have ({error})") from error


def _rendering(subject: Subject) -> Rendering:
    """Another head from the same views, with everything that a rendering can have."""
    return _rendered(subject.stage(), 1)


def _fields(rendering: Rendering) -> dict[str, Tensor]:
    names = (*OUTPUTS, "ws")
    found = {name: getattr(rendering, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _values(subject: Subject) -> Tensor:
    loss = _loss(subject)
    with torch.no_grad():
        values: Tensor = loss(_rendering(subject), _prepared(loss, _target(subject)))
    return values


def _scale(values: Tensor) -> float:
    """What a loss is measured in: its own size."""
    return max(_LEAST, float(values.abs().max()))


@SUITE.check
def is_built_ready_for_use(subject: Subject) -> None:
    """In eval mode and frozen, an `nn.Module`."""
    loss = _loss(subject)
    assert isinstance(loss, Loss), f"create returns a {type(loss).__name__}"
    assert not loss.training and not any(p.requires_grad for p in loss.parameters())


@SUITE.check
def names_fields_that_there_are(subject: Subject) -> None:
    """`needs` are fields of a rendering."""
    unknown = sorted(set(subject.target.needs) - set(OUTPUTS))
    assert not unknown, f"needs names '{unknown[0]}', expected any of {', '.join(OUTPUTS)}"


@SUITE.check
def prepares_tensors(subject: Subject) -> None:
    """`prepare` gives a tensor or a dict of tensors."""
    cache = _prepared(_loss(subject), _target(subject))
    parts = cache if isinstance(cache, Mapping) else {"cache": cache}
    for name, value in parts.items():
        assert isinstance(value, Tensor), f"prepare's {name} is a {type(value).__name__}"
        assert not value.requires_grad, f"prepare's {name} hangs on a graph"


@SUITE.check
def gives_a_number_a_view(subject: Subject) -> None:
    """[N], finite."""
    values = _values(subject)
    shaped("the loss", values, VIEWS)
    finite("the loss", values)


@SUITE.check
def reads_only_what_it_says(subject: Subject) -> None:
    """A rendering with the fields of `needs` and the latents is enough."""
    loss, whole = _loss(subject), _rendering(subject)
    kept = {n: v for n, v in _fields(whole).items() if n in (*subject.target.needs, "ws")}
    with torch.no_grad():
        loss(Rendering(**kept), _prepared(loss, _target(subject)))


@SUITE.check
def is_replayable_if_it_says_so(subject: Subject) -> None:
    """What was judged in between changes nothing."""
    if not subject.target.replayable:
        raise DoesntApply("it isn't marked as replayable: GPUs compute it anew in every step")
    loss = _loss(subject)
    cache = _prepared(loss, _target(subject))
    with torch.no_grad():
        first = loss(_rendering(subject), cache)
        loss(_rendered(subject.stage(), 2), cache)
        again = loss(_rendering(subject), cache)
    near("a rendering judged again", again, first, TOLERANCE * _scale(first))


@SUITE.check
def judges_each_view_alone(subject: Subject) -> None:
    """A view's number doesn't depend on the other views."""
    loss, target, seen = _loss(subject), _target(subject), _rendering(subject)
    together = _values(subject)
    for row in range(VIEWS):
        one = slice(row, row + 1)
        alone = replace(
            target,
            images=target.images[one],
            masks=None if target.masks is None else target.masks[one],
            depths=None if target.depths is None else target.depths[one],
            maps={name: value[one] for name, value in target.maps.items()},
        )
        with torch.no_grad():
            value = loss(seen[one], _prepared(loss, alone))
        scale = _scale(together)
        near("the loss of a view alone", value / scale, together[one] / scale, TOLERANCE)


@SUITE.check
def selects_views_of_its_cache(subject: Subject) -> None:
    """`select` gives the cache of some views, as chunks of views need it."""
    loss, seen = _loss(subject), _rendering(subject)
    cache, together = _prepared(loss, _target(subject)), _values(subject)
    with torch.no_grad():
        parts = [loss(seen[v], loss.select(cache, v)) for v in (slice(0, 2), slice(2, VIEWS))]
    scale = _scale(together)
    near("the loss in two chunks", torch.cat(parts) / scale, together / scale, TOLERANCE)


@SUITE.check
def repeats_itself(subject: Subject) -> None:
    """The same pictures give the same numbers, whatever torch's random numbers are."""
    torch.manual_seed(1)
    first = _values(subject)
    torch.manual_seed(2)
    near("the loss at another seed of torch", _values(subject), first, 1e-6)


@SUITE.check
def changes_nothing_that_it_is_given(subject: Subject) -> None:
    """Pictures, targets and caches stay as they were."""
    loss, seen, target = _loss(subject), _rendering(subject), _target(subject)
    before = {name: value.clone() for name, value in _fields(seen).items()}
    images = target.images.clone()
    with torch.no_grad():
        loss(seen, _prepared(loss, target))
    near("the target", target.images, images, 0.0)
    for name, value in _fields(seen).items():
        near(f"the rendering's {name}", value, before[name], 0.0)


@SUITE.check
def has_gradients(subject: Subject) -> None:
    """Of what it reads: finite, and not all of them zero."""
    loss, target = _loss(subject), _target(subject)
    parts = {n: v.clone().requires_grad_() for n, v in _fields(_rendering(subject)).items()}
    noise = {name: value.clone().requires_grad_() for name, value in target.noise.items()}
    cache = _prepared(loss, replace(target, noise=noise))
    values = loss(Rendering(**parts), cache)
    if subject.target.higher_is_better and not values.requires_grad:
        raise DoesntApply("a metric without gradients")
    assert values.requires_grad, "it hangs on nothing that can be optimised"
    values.sum().backward()
    gradients = {n: p.grad for n, p in (parts | noise).items() if p.grad is not None}
    assert any(bool(g.any()) for g in gradients.values()), "its gradient is zero"
    for name, gradient in gradients.items():
        finite(f"the gradient of {name}", gradient)


@SUITE.check
def is_finite_where_all_is_right(subject: Subject) -> None:
    """Of the target itself: value and gradient are finite."""
    loss, target = _loss(subject), _target(subject)
    same = _rendered(subject.stage(), 0)
    parts = {n: v.clone().requires_grad_() for n, v in _fields(same).items()}
    values = loss(Rendering(**parts), _prepared(loss, target))
    finite("the loss of the target itself", values)
    if values.requires_grad:
        values.sum().backward()
        for name, part in parts.items():
            if part.grad is not None:
                finite(f"the gradient of {name} at the target itself", part.grad)


@SUITE.check
def computes_in_double_precision(subject: Subject) -> None:
    """Of float64 pictures, the numbers are float64 and the same."""
    single = _values(subject)
    loss, target, seen = subject.make().double(), _target(subject), _rendering(subject)
    exact = {n: v.double() for n, v in _fields(seen).items()}
    tensors = {
        name: value.double()
        for name in ("images", "masks", "depths", "anchor")
        if (value := getattr(target, name)) is not None
    }
    noise = {name: value.double() for name, value in target.noise.items()}
    double = replace(target, **tensors, noise=noise)
    with torch.no_grad():
        values = loss(Rendering(**exact), _prepared(loss, double))
    assert values.dtype == torch.float64, f"the loss of float64 pictures is {values.dtype}"
    scale = _scale(single)
    near("the loss in float64", values.float() / scale, single / scale, TOLERANCE)


@SUITE.check
def shadows_no_option_of_a_term(subject: Subject) -> None:
    """Its options don't have the names of what stands beside them in `--set losses.NAME`."""
    shared = sorted(set(subject.target.Config.model_fields) & set(LossTerm.model_fields))
    assert not shared, f"option '{shared[0]}' is that of every term of losses"


@SUITE.check
def says_what_it_lacks(subject: Subject) -> None:
    """Without masks, depths or an anchor it works, or says in one line what's missing."""
    loss = _loss(subject)
    bare = Target(_target(subject).images)
    try:
        loss.prepare(bare)
    except (InputError, ConfigError) as error:
        assert "\n" not in str(error), "its error has several lines"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise AssertionError(f"a target of images alone raises {said}") from error
