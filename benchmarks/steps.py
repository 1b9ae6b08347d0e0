"""Both ways to take a step on the same problem, whether they agree, and what they cost."""

from __future__ import annotations

import copy
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.reference import ReferenceNetwork, ReferenceStep, Upsampling
from inv3d.core.camera import Camera
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Metrics, Stage
from inv3d.core.fit.objective import Objective, WeightedLoss
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.stages import trainable
from inv3d.core.fit.terms import LossTerm
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target
from inv3d.nn.eg3d.generator import TriplaneGenerator

StageName = Literal["w+", "tuning"]
STAGES: tuple[StageName, ...] = get_args(StageName)
Step = Callable[[], dict[str, float]]

SEED = 303
# Both ways must meet the same weights in every repeat; the optimiser works as hard at rate zero.
RATE = 0.0
YAW_DEG = 60.0
STATISTICS = 500
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
TINY = 1e-30
# two, so that gradients of views are added up; one rendered at a time, so that graphs are cut
EXACT_VIEWS = 2


@dataclass(frozen=True)
class Case:
    """A network and how its steps are run.

    Attributes:
        name: of the size.
        generator: the network.
        losses: name -> weight, in both stages; the W+ stage adds the pull to the mean latent.
        chunk: views that our step renders at a time, None: all.
        note: what the reader must know.
    """

    name: str
    generator: Generator
    losses: Mapping[str, float]
    chunk: int | None
    note: str


@dataclass(frozen=True)
class Problem:
    """What both steps are given.

    Attributes:
        stage: "w+" (ws changes) or "tuning" (the generator changes).
        generator: on its device.
        ws: [1, num_ws, w_dim].
        camera: N cameras.
        target: N targets.
        losses: name -> loss and weight.
        variables: what changes, by name.
    """

    stage: StageName
    generator: Generator
    ws: Tensor
    camera: Camera
    target: Target
    losses: Mapping[str, WeightedLoss]
    variables: Mapping[str, Tensor]

    def gradients(self) -> dict[str, Tensor]:
        """Return copies of the gradients that a step left."""
        return {n: v.grad.clone() for n, v in self.variables.items() if v.grad is not None}

    def forget_gradients(self) -> None:
        """Free what a step left, so that the next one is measured with all that it makes."""
        for variable in self.variables.values():
            variable.grad = None


def make_problem(case: Case, stage: StageName, views: int, device: torch.device) -> Problem:
    """Return targets of seeded noise, cameras around the head and a seeded latent."""
    generator = case.generator.to(device).eval().requires_grad_(False)
    spec = generator.spec
    rng = torch.Generator().manual_seed(SEED)
    images = torch.rand(views, 3, spec.resolution, spec.resolution, generator=rng) * 2 - 1
    yaw = torch.deg2rad(torch.linspace(-YAW_DEG, YAW_DEG, views + 2)[1:-1])
    with torch.no_grad():
        z = torch.randn(1, spec.z_dim, generator=rng).to(device, generator.dtype)
        ws = generator.map(z, neutral_condition(generator)).clone()
    terms = {name: LossTerm(weight=weight) for name, weight in case.losses.items()}
    anchor = None
    if stage == "w+":
        anchor = latent_statistics(generator, STATISTICS).mean[None]
        terms["w_norm"] = LossTerm(weight=1.0)
    return Problem(
        stage,
        generator,
        ws,
        spec.camera.orbit(yaw).to(device, generator.dtype),
        Target(images.to(device, generator.dtype), anchor=anchor),
        Context.create(device, SEED).losses(terms),
        {"ws": ws} if stage == "w+" else dict(generator.named_parameters()),
    )


class OurStep:
    """A step of the optimisation loop that `3dinv run` goes through.

    Args:
        problem: what is optimised.
        chunk: views rendered at a time, None: all.
    """

    def __init__(self, problem: Problem, chunk: int | None = None) -> None:
        self.context = Context.create(problem.camera.cam2world.device, SEED, view_chunk=chunk)
        look = Look(problem.camera, Objective(problem.losses, problem.target))

        def update(step: int) -> Metrics:
            return self.context.backward(problem.generator, problem.ws, look)

        groups = {"variables": Group(problem.variables, constant(RATE))}
        self.progress = self.context.run(Stage(problem.stage, 1 << 30, groups, {"fit": update}))

    def __call__(self) -> dict[str, float]:
        """Take the step and return every loss summed over the views, "total" weighted."""
        return next(self.progress).losses

    def chunked(self, chunk: int) -> OurStep:
        """Render so many views at a time from now on."""
        self.context.state.view_chunk = chunk
        return self


def reference_network(
    generator: Generator, upsampling: Upsampling = "transposed"
) -> ReferenceNetwork:
    """Return the reference's reading of a generator's tensors."""
    assert isinstance(generator, TriplaneGenerator)
    return ReferenceNetwork(generator, upsampling)


def reference_step(problem: Problem, network: ReferenceNetwork) -> ReferenceStep:
    """Return the other way to take the step."""
    return ReferenceStep(
        network,
        problem.ws,
        problem.camera,
        problem.losses,
        problem.target,
        list(problem.variables.values()),
        RATE,
    )


@dataclass(frozen=True)
class Agreement:
    """How far the two ways are apart.

    Attributes:
        loss: largest difference of a loss, relative.
        gradient: largest difference of any number of the gradient, divided by its largest number.
        tensor: the same for each tensor on its own, of the worst one.
        worst: whose gradient that is.
    """

    loss: float
    gradient: float
    tensor: float
    worst: str

    @property
    def ok(self) -> bool:
        """Whether losses and gradient are within the tolerances."""
        return self.loss <= LOSS_TOLERANCE and self.gradient <= GRADIENT_TOLERANCE

    @property
    def exact(self) -> bool:
        """Whether every tensor is, too."""
        return self.ok and self.tensor <= GRADIENT_TOLERANCE


def compare(problem: Problem, ours: Step, reference: Step) -> Agreement:
    """Take one step each way and compare every loss and every gradient."""
    found, gradients = ours(), problem.gradients()
    expected, others = reference(), problem.gradients()
    if gradients.keys() != others.keys() or found.keys() != expected.keys():
        return Agreement(math.inf, math.inf, math.inf, "other tensors or losses")
    loss = max(abs(found[n] - expected[n]) / max(abs(expected[n]), 1e-12) for n in expected)
    differences = {n: float((gradients[n] - value).abs().max()) for n, value in others.items()}
    largest = {n: max(float(value.abs().max()), TINY) for n, value in others.items()}
    tensors = {n: differences[n] / largest[n] for n in others}
    worst = max(tensors, key=lambda name: tensors[name])
    gradient = max(differences.values()) / max(largest.values())
    return Agreement(loss, gradient, tensors[worst], worst)


def seconds(step: Step, device: torch.device) -> float:
    """Time one step."""
    _finish(device)
    started = time.perf_counter()
    step()
    _finish(device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(step: Step, device: torch.device) -> int:
    """Return the most memory that a step holds beyond what was held before it.

    On a CPU that is what torch's allocator gives out and takes back, call by call; scratch memory
    of the libraries below it isn't seen.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    # read when the profiler starts; it logs every start and stop otherwise
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


@dataclass(frozen=True)
class Timing:
    """One comparison; seconds are medians, ratios reference / ours of neighbouring repeats."""

    size: str
    stage: StageName
    views: int
    ours: float
    reference: float
    ratio_min: float
    ratio_median: float
    ratio_max: float
    agreement: Agreement
    agrees: bool


@dataclass(frozen=True)
class Memory:
    """Peak bytes of a step that renders one view at a time."""

    size: str
    stage: StageName
    way: Literal["ours", "reference"]
    views: int
    peak: int


@dataclass(frozen=True)
class Exact:
    """The comparison in double precision, which no rounding blurs."""

    size: str
    stage: StageName
    views: int
    agreement: Agreement
    agrees: bool


Result = Timing | Memory | Exact


@dataclass(frozen=True)
class Plan:
    """How a case is measured.

    Attributes:
        views: numbers of views, ascending.
        repeats: of the timing.
        memory: whether to measure memory too.
        exact: whether to compare in double precision too.
        upsampling: of the reference's convolutions.
    """

    views: Sequence[int]
    repeats: int
    memory: bool = True
    exact: bool = True
    upsampling: Upsampling = "transposed"


def measure(case: Case, device: torch.device, plan: Plan) -> Iterator[Result]:
    """Measure both stages for every number of views."""
    network = reference_network(case.generator.to(device), plan.upsampling)
    for stage in STAGES:
        if plan.exact:
            agreement = compare_exactly(case, stage, device, plan.upsampling)
            yield Exact(case.name, stage, EXACT_VIEWS, agreement, agreement.exact)
        for views in plan.views:
            problem = make_problem(case, stage, views, device)
            with trainable(problem.variables):
                ours, reference = OurStep(problem, case.chunk), reference_step(problem, network)
                yield _timing(case.name, problem, ours, reference, device, plan.repeats)
                if not plan.memory:
                    continue
                problem.forget_gradients()
                peak = peak_bytes(ours.chunked(1), device)
                yield Memory(case.name, stage, "ours", views, peak)
                if views == plan.views[0]:
                    problem.forget_gradients()
                    peak = peak_bytes(reference, device)
                    yield Memory(case.name, stage, "reference", views, peak)


def compare_exactly(
    case: Case, stage: StageName, device: torch.device, upsampling: Upsampling = "transposed"
) -> Agreement:
    """Compare both ways on a copy of the network in double precision."""
    case = replace(case, generator=copy.deepcopy(case.generator).double())
    problem = make_problem(case, stage, EXACT_VIEWS, device)
    network = reference_network(problem.generator, upsampling)
    with trainable(problem.variables):
        return compare(problem, OurStep(problem, 1), reference_step(problem, network))


def _timing(
    size: str, problem: Problem, ours: Step, reference: Step, device: torch.device, repeats: int
) -> Timing:
    """Compare once, which warms both up, then time them in turns."""
    agreement = compare(problem, ours, reference)
    pairs = [(seconds(ours, device), seconds(reference, device)) for _ in range(repeats)]
    ratios = [theirs / own for own, theirs in pairs]
    return Timing(
        size,
        problem.stage,
        len(problem.camera),
        statistics.median(own for own, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        min(ratios),
        statistics.median(ratios),
        max(ratios),
        agreement,
        agreement.ok,
    )
