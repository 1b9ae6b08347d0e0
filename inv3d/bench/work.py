"""Arithmetic and bytes of a stage, and the time that they take at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from inv3d.bench.cases import Case
from inv3d.bench.machine import Rates
from inv3d.bench.problem import Mode, Problem, Setting, make_problem, make_setting
from inv3d.bench.reference import ReferenceNetwork
from inv3d.bench.ways import StageName, forget, weights_of
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.stages import trainable
from inv3d.core.scene import Rendering

# forward; with the gradient of inputs; with that of weights too, each as much as forward
_PASSES: Mapping[Mode, int] = {"forward": 1, "w+": 2, "tuning": 3}
_PARTS: tuple[StageName, ...] = ("backbone", "render", "superres")
# Adam reads weight, gradient and two moments, writes weight and moments
_OPTIMISER = 7


@dataclass(frozen=True)
class Work:
    """What a stage has to do, in the direct form.

    Attributes:
        operations: multiplications and additions of matrix products and convolutions.
        bytes: of inputs, outputs and weights, each once a pass over them.
    """

    operations: int
    bytes: int

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def seconds(self, rates: Rates) -> float:
        """Return the time that it takes at least at some rates."""
        return max(self.operations / rates.arithmetic, self.bytes / rates.copy) / 1e9


def work_of(
    case: Case, network: ReferenceNetwork, stage: StageName, mode: Mode, views: int
) -> Work:
    """Count the work of a stage on the reference's form of it.

    Args:
        case: whose generator is on its device.
        network: the reference's reading of the generator.
        stage: which.
        mode: which gradients are wanted.
        views: that are rendered.
    """
    setting = make_setting(case, 1, case.generator.device)
    if stage != "step":
        return _stage(setting, network, stage, mode, views)
    whole = _losses(make_problem(case, mode, setting), views)
    for part in _PARTS:
        whole += _stage(setting, network, part, mode, views)
    if mode == "w+":
        return whole
    weights = _bytes(*weights_of(setting, "step").values())
    return whole + Work(0, _OPTIMISER * weights)


def _stage(
    setting: Setting, network: ReferenceNetwork, stage: StageName, mode: Mode, views: int
) -> Work:
    """Count one view and multiply; the backbone is shared by all."""
    ws, camera = setting.ws, setting.camera[0]
    weights = _bytes(*weights_of(setting, stage).values())
    with torch.no_grad():
        planes = network.planes(ws)
        seen = network.march(planes, camera)
        if stage == "backbone":
            count = _PASSES[mode] * operations(lambda: network.planes(ws))
            return Work(count, _moved(mode, weights, _bytes(ws, planes)))
        if stage == "superres":
            image = network.superresolve(seen.features, ws[:, -1])
            once = operations(lambda: network.superresolve(seen.features, ws[:, -1]))
            ends = views * _bytes(seen.features, image)
            return Work(views * _PASSES[mode] * once, _moved(mode, weights, ends))
    count = views * _marching(setting, network, planes, mode)
    outputs = views * _bytes(seen.features, seen.depth)
    return Work(count, _moved(mode, weights, _bytes(planes) + outputs))


def _marching(setting: Setting, network: ReferenceNetwork, planes: Tensor, mode: Mode) -> int:
    """Operations of one view; what only places samples has no gradient."""
    if mode == "forward":
        with torch.no_grad():
            return operations(lambda: network.march(planes, setting.camera[0]))
    variables = {"planes": planes, **(weights_of(setting, "render") if mode == "tuning" else {})}
    with trainable(variables):
        count = operations(
            lambda: torch.autograd.backward(network.march(planes, setting.camera[0]).features.sum())
        )
        forget(variables)
    return count


def _losses(problem: Problem, views: int) -> Work:
    """Work of the losses: forward, and the gradient of the picture."""
    objective = Objective(problem.losses, problem.target)
    image = problem.target.images.clone().requires_grad_()
    rendering = Rendering(image=image, ws=problem.setting.ws)
    count = operations(
        lambda: torch.autograd.backward(objective.evaluate(rendering, slice(0, 1))[0])
    )
    return Work(views * count, views * 3 * _bytes(image))


def _moved(mode: Mode, weights: int, ends: int) -> int:
    """Bytes of both ends and weights, again in the backward pass, gradients of weights written."""
    once = weights + ends
    return {"forward": once, "w+": 2 * once, "tuning": 2 * once + weights}[mode]


def operations(call: Callable[[], Any]) -> int:
    """Count the multiplications and additions of matrix products and convolutions in a call."""
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)
