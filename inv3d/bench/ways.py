"""Both ways through every stage: ours, and that of the reference, on the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from inv3d.bench.cases import Case
from inv3d.bench.problem import RATE, Mode, OurStep, Problem, Setting, make_problem, make_setting
from inv3d.bench.reference import ReferenceNetwork, ReferenceStep
from inv3d.core.scene import Rendering, Scene
from inv3d.nn.choices import Precision
from inv3d.nn.precision import rounding

StageName = Literal["backbone", "render", "superres", "step"]
STAGES: tuple[StageName, ...] = get_args(StageName)
Values = Mapping[str, Tensor | float]

# whose parameters a stage reads, by the beginning of their names
WEIGHTS: Mapping[StageName, tuple[str, ...]] = {
    "backbone": ("backbone.synthesis.",),
    "render": ("decoder.",),
    "superres": ("superresolution.", "torgb."),
    "step": ("",),
}


@dataclass(frozen=True)
class Way:
    """One of the two ways.

    Attributes:
        call: goes it and returns its outputs by name; leaves gradients.
        gradients: of the last call, by name.
        steps: that a call takes.
    """

    call: Callable[[], Values]
    gradients: Callable[[], dict[str, Tensor]]
    steps: int = 1


@dataclass(frozen=True)
class Pair:
    """Both ways through a stage.

    Attributes:
        stage: which part of a step, or "step", the whole.
        mode: "forward"; "w+", with the gradient of latent or inputs; "tuning", with that of the
            weights and of the inputs.
        views: that are rendered.
        ours: our way.
        reference: the other one.
        variables: tensors that must require their gradient meanwhile.
    """

    stage: StageName
    mode: Mode
    views: int
    ours: Way
    reference: Way
    variables: Mapping[str, Tensor]

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Let gradients arrive at the variables; afterwards they're as they were."""
        before = [v.requires_grad for v in self.variables.values()]
        for variable in self.variables.values():
            variable.requires_grad_()
        try:
            yield
        finally:
            self.forget()
            for variable, required in zip(self.variables.values(), before, strict=True):
                variable.requires_grad_(required)

    def forget(self) -> None:
        """Free the gradients that a call left."""
        forget(self.variables)


def forget(variables: Mapping[str, Tensor]) -> None:
    """Free gradients."""
    for variable in variables.values():
        variable.grad = None


def kept(variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of gradients."""
    return {n: v.grad.clone() for n, v in variables.items() if v.grad is not None}


def weights_of(setting: Setting, stage: StageName) -> dict[str, Tensor]:
    """Return the parameters that a stage reads."""
    parameters = setting.generator.named_parameters()
    return {name: p for name, p in parameters if name.startswith(WEIGHTS[stage])}


def make_pair(
    case: Case,
    network: ReferenceNetwork,
    stage: StageName,
    mode: Mode,
    views: int,
    precision: Precision = "fp32",
) -> Pair:
    """Return both ways through a stage.

    Args:
        case: whose generator is on its device.
        network: the reference's reading of the generator.
        stage: which.
        mode: which gradients are wanted; a step has no "forward".
        views: number of cameras.
        precision: of convolutions; what the reference is allowed to round to on CUDA.
    """
    setting = make_setting(case, views, case.generator.device)
    build = {"backbone": _backbone, "render": _render, "superres": _superres, "step": _step}[stage]
    pair = build(case, setting, network, mode)
    call = pair.reference.call

    def rounded() -> Values:
        with rounding(precision):
            return call()

    reference = Way(rounded, pair.reference.gradients)
    return Pair(stage, mode, views, pair.ours, reference, pair.variables)


def _backbone(case: Case, setting: Setting, network: ReferenceNetwork, mode: Mode) -> Pair:
    """A latent to planes."""
    generator, ws = setting.generator, setting.ws
    variables = _variables(setting, "backbone", mode, {"ws": ws} if mode == "w+" else {})
    with torch.no_grad():
        towards = generator.synthesize(ws).parts["planes"].clone()

    def ours() -> Values:
        forget(variables)
        with torch.set_grad_enabled(mode != "forward"):
            planes = generator.synthesize(ws).parts["planes"]
            _follow(planes, towards, mode)
        return {"planes": planes.detach()[0]}

    def reference() -> Values:
        forget(variables)
        with torch.set_grad_enabled(mode != "forward"):
            planes = network.planes(ws)
            _follow(planes, towards[0], mode)
        return {"planes": planes.detach()}

    return _pair("backbone", mode, setting, ours, reference, variables)


def _render(case: Case, setting: Setting, network: ReferenceNetwork, mode: Mode) -> Pair:
    """Planes to features and depth."""
    generator, camera = setting.generator, setting.camera
    with torch.no_grad():
        scene = generator.synthesize(setting.ws)
        towards = generator.render(scene, camera, outputs=("features",)).require("features")
    planes = scene.parts["planes"].detach()
    variables = _variables(setting, "render", mode, {"planes": planes})
    # the reference has planes in the order in which it makes them itself
    plain = planes[0].clone(memory_format=torch.contiguous_format)
    of_reference = {**variables, "planes": plain}
    seen_scene = Scene({**scene.parts, "planes": planes}, setting.ws)

    def ours() -> Values:
        forget(variables)
        parts = []
        with torch.set_grad_enabled(mode != "forward"):
            for part in _chunks(len(camera), case.chunk):
                seen = generator.render(
                    seen_scene, camera[part], outputs=("features", "depth", "mask")
                )
                _follow(seen.require("features"), towards[part], mode)
                parts.append(seen)
        seen = Rendering.cat(parts)
        return {
            "features": seen.require("features").detach(),
            "depth": (seen.require("depth") * seen.require("mask")).detach(),
        }

    def reference() -> Values:
        forget(of_reference)
        parts = []
        with torch.set_grad_enabled(mode != "forward"):
            for view in range(len(camera)):
                seen = network.march(plain, camera[view])
                _follow(seen.features, towards[view : view + 1], mode)
                parts.append(seen)
        return {
            "features": torch.cat([seen.features.detach() for seen in parts]),
            "depth": torch.cat([seen.depth.detach() for seen in parts]),
        }

    pair = _pair("render", mode, setting, ours, reference, variables)
    other = Way(reference, lambda: kept(of_reference))
    watched = {**pair.variables} if mode == "forward" else {**variables, "plain planes": plain}
    return Pair("render", mode, len(camera), pair.ours, other, watched)


def _superres(case: Case, setting: Setting, network: ReferenceNetwork, mode: Mode) -> Pair:
    """Features to pictures."""
    generator, camera, ws = setting.generator, setting.camera, setting.ws
    with torch.no_grad():
        scene = generator.synthesize(ws)
        features = generator.render(scene, camera, outputs=("features",)).require("features")
        towards = generator.images(features, ws, ("image",))["image"]
    variables = _variables(setting, "superres", mode, {"ws": ws} if mode == "w+" else {})
    chunks = _chunks(len(camera), case.chunk)
    # leaves, since a gradient through a slice would fill a whole batch with zeros
    of_ours = {str(i): features[part].clone() for i, part in enumerate(chunks)}
    of_reference = {str(i): one.contiguous()[None] for i, one in enumerate(features)}

    def ours() -> Values:
        forget({**variables, **of_ours})
        images = []
        with torch.set_grad_enabled(mode != "forward"):
            for part, leaf in zip(chunks, of_ours.values(), strict=True):
                image = generator.images(leaf, ws, ("image",))["image"]
                _follow(image, towards[part], mode)
                images.append(image.detach())
        return {"image": torch.cat(images)}

    def reference() -> Values:
        forget({**variables, **of_reference})
        images = []
        with torch.set_grad_enabled(mode != "forward"):
            for view, leaf in enumerate(of_reference.values()):
                image = network.superresolve(leaf, ws[:, -1])
                _follow(image, towards[view : view + 1], mode)
                images.append(image.detach())
        return {"image": torch.cat(images)}

    def gradients(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if mode == "forward":
            return {}
        found = [leaf.grad for leaf in leaves.values() if leaf.grad is not None]
        return {**kept(variables), "features": torch.cat(found)}

    watched = {f"ours {n}": v for n, v in of_ours.items()} | {
        f"reference {n}": v for n, v in of_reference.items()
    }
    return Pair(
        "superres",
        mode,
        len(camera),
        Way(ours, lambda: gradients(of_ours)),
        Way(reference, lambda: gradients(of_reference)),
        {} if mode == "forward" else {**variables, **watched},
    )


def _step(case: Case, setting: Setting, network: ReferenceNetwork, mode: Mode) -> Pair:
    """A whole step of the optimiser."""
    problem = make_problem(case, mode, setting)
    variables = problem.variables
    our_step = OurStep(problem, case.chunk)
    step = reference_step(problem, network)
    return Pair(
        "step",
        mode,
        len(setting.camera),
        Way(our_step, lambda: kept(variables), our_step.steps),
        Way(step, lambda: kept(variables)),
        variables,
    )


def reference_step(problem: Problem, network: ReferenceNetwork) -> ReferenceStep:
    """Return the reference's way to take a step."""
    setting, variables = problem.setting, list(problem.variables.values())
    return ReferenceStep(
        network, setting.ws, setting.camera, problem.losses, problem.target, variables, RATE
    )


def _variables(
    setting: Setting, stage: StageName, mode: Mode, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What has a gradient: inputs with every gradient, weights in tuning."""
    if mode == "forward":
        return {}
    return {**inputs, **(weights_of(setting, stage) if mode == "tuning" else {})}


def _pair(
    stage: StageName,
    mode: Mode,
    setting: Setting,
    ours: Callable[[], Values],
    reference: Callable[[], Values],
    variables: Mapping[str, Tensor],
) -> Pair:
    """Both ways where they share their variables."""
    own, other = (Way(call, lambda: kept(variables)) for call in (ours, reference))
    return Pair(stage, mode, len(setting.camera), own, other, variables)


def _follow(made: Tensor, towards: Tensor, mode: Mode) -> None:
    """Back-propagate a given gradient of an output, where gradients are wanted.

    It's the output itself, as of half the sum of its squares: sums of noise would nearly cancel,
    and show nothing but rounding.
    """
    if mode != "forward":
        torch.autograd.backward([made], [towards])


def _chunks(count: int, size: int | None) -> list[slice]:
    size = size or count
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
