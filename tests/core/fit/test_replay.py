"""Passes that come again are recorded, and what is replayed is what would be computed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.fit.backward import Look, Source, backward, latent_source, unsteady
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Stage
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.optimizers import lbfgs
from inv3d.core.fit.replay import CudaGraphs, Recorder, Replays, Sums
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.terms import LossTerm
from inv3d.core.latent import latent_statistics
from inv3d.core.loss import Target
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.losses.pixel import MSE
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.tiny_generators import tiny

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, cuda])]
VIEWS = 4


class Tape:
    """What a CUDA graph is on a CPU: does the work again, and overwrites the same results.

    Attributes:
        recorded: how many works were.
        replayed: how often one was done again.
    """

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(
        self, work: Callable[[], Sums], tensors: Sequence[Tensor]
    ) -> tuple[Callable[[], None], Sums]:
        sums, gradients = self._run(work, tensors)
        self.recorded += 1
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient

        def again() -> None:
            self.replayed += 1
            before = [tensor.grad for tensor in tensors]
            values, found = self._run(work, tensors)
            for tensor, gradient in zip(tensors, before, strict=True):
                tensor.grad = gradient
            for name, value in values.items():
                sums[name].copy_(value)
            for kept, gradient in zip(gradients, found, strict=True):
                if kept is not None and gradient is not None:
                    kept.copy_(gradient)

        return again, sums

    def _run(
        self, work: Callable[[], Sums], tensors: Sequence[Tensor]
    ) -> tuple[Sums, list[Tensor | None]]:
        for tensor in tensors:
            tensor.grad = None
        sums = dict(work())
        return sums, [None if t.grad is None else t.grad.clone() for t in tensors]


class Scene:
    """A toy generator, its capture and an objective on a device."""

    def __init__(self, device: str, sampling: str = "deterministic") -> None:
        self.generator = ToyGenerator(ToyConfig(sampling=sampling))  # type: ignore[arg-type]
        self.generator.double().to(device).requires_grad_(False)
        self.generator.rng = torch.Generator(device).manual_seed(3)
        self.capture = toy_capture(self.generator, VIEWS, seed=2).to(device, torch.float64)
        self.context = Context.create(device)
        self.ws = toy_latents(self.generator, 1, seed=1).to(device, torch.float64)
        self.objective = self.aim({"mse": 1.0, "w_norm": 0.3})

    def aim(self, weights: dict[str, float]) -> Objective:
        anchor = torch.zeros(1, 8, dtype=torch.float64, device=self.ws.device)
        terms = {name: LossTerm(weight=weight) for name, weight in weights.items()}
        return self.context.objective(terms, Target(self.capture.images, anchor=anchor))

    def gradients(
        self, ws: Tensor, camera: Camera, replays: Replays | None, objective: Objective
    ) -> dict[str, Tensor]:
        """Losses, and all gradients of one pass over cameras that may want one, too."""
        ws, poses = ws.detach().clone().requires_grad_(), camera.cam2world.clone().requires_grad_()
        parameters = dict(self.generator.named_parameters())
        for parameter in parameters.values():
            parameter.grad = None
        looks = [Look(Camera(poses, camera.intrinsics), objective)]
        source = latent_source(self.generator, 2 * ws, latent=3 * ws)
        rng = self.generator.rng
        sums = backward(self.generator, source, looks, chunk=3, rng=rng, replays=replays)
        found = {"ws": ws.grad, "poses": poses.grad}
        found |= {name: p.grad for name, p in parameters.items()}
        return sums | {n: g.clone() for n, g in found.items() if g is not None}


def recorder(device: str) -> Recorder:
    """A CUDA graph where there are some."""
    return Tape() if device == "cpu" else CudaGraphs(torch.device(device))


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_replayed_gradients_are_those_of_other_latents_and_cameras(
    device: str, tuned: bool
) -> None:
    scene = Scene(device)
    scene.generator.requires_grad_(tuned)
    records = recorder(device)
    replays = Replays(lambda: records)
    for step in range(5):
        ws, camera = scene.ws + 0.1 * step, scene.capture.camera[[step % 4, 1, 2, 3]]
        expected = scene.gradients(ws, camera, None, scene.objective)
        same(scene.gradients(ws, camera, replays, scene.objective), expected)
    if isinstance(records, Tape):
        assert (records.recorded, records.replayed) == (1, 4)
    assert replays.recorded and replays.fault is None
    replays.clear()
    assert not replays.recorded


@pytest.mark.parametrize("device", DEVICES)
def test_passes_of_one_step_add_up(device: str) -> None:
    """A second look's gradient is added to what the first left at parameters."""
    scene = Scene(device)
    scene.generator.requires_grad_(True)
    other = scene.aim({"l1": 2.0})
    replays = Replays(lambda: recorder(device))
    parameters = list(scene.generator.parameters())

    def step(replays: Replays | None) -> list[Tensor]:
        for parameter in parameters:
            parameter.grad = None
        for objective in (scene.objective, other):
            looks = [Look(scene.capture.camera, objective)]
            source = latent_source(scene.generator, scene.ws)
            backward(scene.generator, source, looks, replays=replays)
        return [p.grad.clone() for p in parameters if p.grad is not None]

    expected = step(None)
    for _ in range(4):
        for found, wanted in zip(step(replays), expected, strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_what_changes_otherwise_is_computed_anew(device: str) -> None:
    """Another objective, other views, a joint function, an unknown source, random samples."""
    scene, drawing = Scene(device), Scene(device, "stochastic")
    records = recorder(device)
    replays = Replays(lambda: records)
    camera, ws = scene.capture.camera, scene.ws.clone().requires_grad_()
    source = latent_source(scene.generator, ws)
    unknown = Source(source.make, source.count, source.inputs, source.latent)
    joint = Look(camera, joint=lambda seen, _: seen.require("depth").sum(), outputs=("depth",))
    for factor in (1.0, 2.0):
        aim = scene.aim({"mse": factor})
        scene.gradients(ws, camera, replays, aim)
        same(
            scene.gradients(ws, camera, replays, aim),
            scene.gradients(ws, camera, None, aim),
        )
        aim = scene.aim({"mse": factor})
        for step in range(3):
            (look,) = [Look(camera, aim, weight=1.0 + step)]
            sums = backward(scene.generator, source, [look], replays=replays)
            expected = backward(scene.generator, source, [look])
            torch.testing.assert_close(sums["total"], expected["total"])
    recorded = records.recorded if isinstance(records, Tape) else 0
    for _ in range(3):
        backward(scene.generator, unknown, [Look(camera, scene.objective)], replays=replays)
        backward(scene.generator, source, [joint], replays=replays)
        drawing.gradients(ws, camera, replays, drawing.objective)
    if isinstance(records, Tape):
        assert recorded == 2 and records.recorded == recorded


def test_what_cannot_be_recorded_is_computed() -> None:
    scene = Scene("cpu")

    def refuse(
        work: Callable[[], Sums], tensors: Sequence[Tensor]
    ) -> tuple[Callable[[], None], Sums]:
        work()
        raise RuntimeError("operation not permitted when stream is capturing")

    scene.generator.requires_grad_(True)
    replays, camera = Replays(lambda: refuse), scene.capture.camera
    expected = scene.gradients(scene.ws, camera, None, scene.objective)
    for _ in range(3):
        same(scene.gradients(scene.ws, camera, replays, scene.objective), expected)
    scene.context.state.replays = replays
    look = Look(camera, scene.objective)
    for _ in range(2):
        scene.context.backward(scene.generator, scene.ws.requires_grad_(), look)
    (notice,) = scene.context.state.notices
    assert "CUDA graphs" in notice and "stream is capturing" in notice


def test_cpus_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_CUDA_GRAPHS", "1")
    assert Context.create("cpu").state.replays is None
    assert Context.create("cpu", replay=True).state.replays is None


@pytest.mark.cuda
@cuda
def test_a_variable_of_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Context.create("cuda").state.replays is not None
    assert Context.create("cuda", replay=False).state.replays is None
    monkeypatch.setenv("INV3D_CUDA_GRAPHS", "0")
    assert Context.create("cuda").state.replays is None
    assert Context.create("cuda", replay=True).state.replays is not None


def test_what_may_remember_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that doesn't say it's replayable may do otherwise the third time."""
    scene, records = Scene("cpu"), Tape()
    loss = type(scene.objective.terms["mse"].weighted.loss)
    for plugin, who in ((ToyGenerator, "generator toy"), (loss, "loss mse")):
        with monkeypatch.context() as patch:
            patch.setattr(plugin, "replayable", False)
            objective = scene.aim({"mse": 1.0})
            assert unsteady(scene.generator, [Look(scene.capture.camera, objective)]) == [who]
            replays = Replays(lambda: records)
            for _ in range(3):
                scene.gradients(scene.ws, scene.capture.camera, replays, objective)
    assert records.recorded == 0


def test_a_run_says_what_keeps_it_from_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("cpu")
    scene.context.state.replays = Replays(Tape)
    monkeypatch.setattr(ToyGenerator, "replayable", False)
    for _ in range(2):
        look = Look(scene.capture.camera, scene.objective)
        scene.context.backward(scene.generator, scene.ws.clone().requires_grad_(), look)
    (notice,) = scene.context.state.notices
    assert "generator toy isn't marked as replayable" in notice


def test_a_subclass_says_anew_that_it_is_replayable() -> None:
    class Silent(ToyGenerator):
        pass

    class Telling(Silent):
        replayable = True

    assert (Silent.replayable, Telling.replayable) == (False, True)
    assert MSE.replayable and not type("Mine", (MSE,), {}).replayable


def test_a_loss_that_holds_another_answers_for_it() -> None:
    (weighted,) = Scene("cpu").context.losses({"mse": LossTerm(weight=1.0)}).values()
    loss, target = weighted.loss, Target(torch.zeros(1, 3, 8, 8))
    assert Objective({"mse": weighted}, target).unsteady == []
    loss.add_module("inner", type("Inner", (MSE,), {})(loss.config))
    whole = Objective({"mse": weighted}, target)
    assert whole.unsteady == ["mse"] and Objective.joined({"a": whole}).unsteady == ["a/mse"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_pass_twice_in_a_step_adds_up(device: str) -> None:
    """Two latents of one look; what the first left isn't overwritten by the second."""
    scene = Scene(device)
    scene.generator.requires_grad_(True)
    look = Look(scene.capture.camera, scene.objective)
    parameters = list(scene.generator.parameters())

    def step(replays: Replays | None) -> list[Tensor]:
        for parameter in parameters:
            parameter.grad = None
        for factor in (1.0, 2.0):
            source = latent_source(scene.generator, factor * scene.ws)
            backward(scene.generator, source, [look], replays=replays)
        return [p.grad.clone() for p in parameters if p.grad is not None]

    expected, replays = step(None), Replays(lambda: recorder(device))
    for _ in range(3):
        for found, wanted in zip(step(replays), expected, strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_noise_maps_that_are_optimised_get_their_gradients(device: str) -> None:
    """They're buffers of the generator."""
    generator = tiny(EG3D).double().to(device).eval()
    context = Context.create(device)
    generator.rng = context.state.generators["render"]
    maps = generator.noise_maps()
    camera = generator.spec.camera.orbit(torch.tensor([-0.3, 0.3])).to(device, torch.float64)
    size = generator.spec.resolution
    images = torch.zeros(2, 3, size, size, dtype=torch.float64, device=device)
    terms = {"mse": LossTerm(weight=1.0), "noise": LossTerm(weight=1.0)}
    look = Look(camera, context.objective(terms, Target(images, noise=maps)))
    ws = latent_statistics(generator, 10).mean.expand(1, generator.spec.num_ws, -1)
    for tensor in maps.values():
        tensor.requires_grad_()

    def step(replays: Replays | None) -> list[Tensor]:
        for tensor in maps.values():
            tensor.grad = None
        backward(generator, latent_source(generator, ws), [look], replays=replays)
        return [tensor.grad.clone() for tensor in maps.values() if tensor.grad is not None]

    expected, replays = step(None), Replays(lambda: recorder(device))
    assert len(expected) == len(maps) > 0
    for _ in range(4):
        for found, wanted in zip(step(replays), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_what_draws_numbers_that_nobody_keeps_is_computed() -> None:
    class Drawing(Counted):
        def draws(self) -> list[Tensor]:
            return [torch.get_rng_state()]

        def gather(self) -> Sums:
            return {"total": torch.rand(())}

    replays = Replays(Tape)
    assert len({float(replays.gather(Drawing(1))["total"]) for _ in range(4)}) == 4


def test_memory_that_recordings_hold_is_freed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that finds no room is tried again with as many views, and nothing recorded."""
    scene = Scene("cpu")
    state = scene.context.state
    state.replays = Replays(Tape)
    w = scene.ws.clone().requires_grad_()
    look = Look(scene.capture.camera, scene.objective)

    def update(step: int) -> dict[str, Tensor]:
        if step == 3 and state.replays is not None:
            raise torch.OutOfMemoryError("no room")
        return scene.context.backward(scene.generator, w, look)

    stage = Stage("fit", 5, {"w": Group({"w": w}, constant(0.01))}, {"fit": update})
    assert len(list(scene.context.run(stage))) == 5
    assert state.view_chunk is None and state.replays is None
    (notice,) = state.notices
    assert notice.startswith("out of device memory") and "CUDA graphs" in notice


@pytest.mark.cuda
@cuda
def test_a_loss_that_waits_for_the_device_is_computed() -> None:
    scene = Scene("cuda")
    term = scene.objective.terms["mse"]
    forward = term.weighted.loss.forward

    def waiting(*args: object) -> Tensor:
        value: Tensor = forward(*args)
        assert float(value.sum()) >= 0
        return value

    term.weighted.loss.forward = waiting  # type: ignore[method-assign]
    replays, camera = Replays(lambda: recorder("cuda")), scene.capture.camera
    expected = scene.gradients(scene.ws, camera, None, scene.objective)
    for _ in range(3):
        same(scene.gradients(scene.ws, camera, replays, scene.objective), expected)


def test_works_are_remembered_for_a_while_only() -> None:
    records = Tape()
    replays = Replays(lambda: records)
    for number in [*range(100), 0, 99, 99]:
        replays.gather(Counted(number))
    assert records.recorded == 1
    replays.clear()
    assert replays.gather(Counted(99))["total"] == 99 and records.recorded == 1


class Counted:
    """Work without gradients."""

    def __init__(self, number: int) -> None:
        self.number = number

    def key(self) -> Hashable:
        return self.number

    def own(self) -> Counted:
        return self

    def leaves(self) -> list[Tensor]:
        return []

    def shared(self) -> list[Tensor]:
        return []

    def draws(self) -> list[Tensor]:
        return []

    def gather(self) -> Sums:
        return {"total": torch.tensor(float(self.number))}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_stage_takes_the_same_steps(device: str, optimizer: str) -> None:
    """The loop, line searches included, comes to the same latents and says the same losses."""
    found = []
    for replays in (None, Replays(lambda: recorder(device))):
        scene = Scene(device)
        scene.context.state.replays = replays
        w = latent_statistics(scene.generator, 100).mean.repeat(1, 4, 1).requires_grad_()
        look = Look(scene.capture.camera, scene.objective)

        def update(
            step: int, scene: Scene = scene, w: Tensor = w, look: Look = look
        ) -> dict[str, Tensor]:
            return scene.context.backward(scene.generator, w, look)

        group = Group({"w": w}, constant(0.05))
        group = replace(group, optimizer=lbfgs()) if optimizer == "lbfgs" else group
        steps = list(scene.context.run(Stage("fit", 12, {"w": group}, {"fit": update})))
        found.append((w.detach().clone(), [step.losses for step in steps]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-7, atol=1e-9)
    for losses, expected in zip(found[1][1], found[0][1], strict=True):
        assert losses == pytest.approx(expected, rel=1e-7)
