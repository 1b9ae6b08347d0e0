"""What plugins return is looked at before anything is made of it, and they are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.border import (
    check_cameras,
    check_edited,
    check_generator,
    check_rendering,
    check_result,
    check_tensors,
    is_foreign,
)
from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.editor import Editor
from inv3d.core.errors import ContractError
from inv3d.core.estimator import Estimator, load_estimator
from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.stages import target_of
from inv3d.core.fit.terms import LossTerm
from inv3d.core.inversion import Inversion, Made
from inv3d.core.loss import Loss, load_loss
from inv3d.core.scene import Rendering
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from tests.commands.run_cli import QUICK, fails, registered, resume, write_capture
from tests.commands.run_cli import run as run_toy

HERE = "tests.core.test_border"


class Mine(ToyGenerator):
    """A generator of others."""

    name = "mine"
    api = "1.0"

    def changed(self, images: torch.Tensor) -> Any:
        """What becomes of its pictures."""
        return images

    def render(self, scene: Any, camera: Any, **options: Any) -> Any:
        seen = super().render(scene, camera, **options)
        return replace(seen, image=None if seen.image is None else self.changed(seen.image))


class Burnt(Mine):
    """Makes numbers that aren't any."""

    name = "burnt"

    def changed(self, images: torch.Tensor) -> Any:
        return images * torch.nan


class Small(Mine):
    """Makes pictures of another size."""

    name = "small"

    def changed(self, images: torch.Tensor) -> Any:
        return images[..., ::2, ::2]


class Bare(Mine):
    """Makes tensors without what belongs to them."""

    name = "bare"

    def render(self, scene: Any, camera: Any, **options: Any) -> Any:
        return super().render(scene, camera, **options).image


class Wide(Mine):
    """Maps to more latents than it says."""

    name = "wide"

    def map(self, z: Any, condition: Any = None, truncation: float = 1.0) -> Any:
        return super().map(z, condition, truncation).repeat(1, 2, 1)


class Bright(Mine):
    """Makes pictures in 0 to 255."""

    name = "bright"

    def changed(self, images: torch.Tensor) -> Any:
        return images * 127.5 + 127.5


class Nothing(Loss[PluginConfig, torch.Tensor]):
    """Its create returns something else."""

    name = "nothing"
    api = "1.0"

    @classmethod
    def create(cls, config: PluginConfig) -> Any:
        return None

    def prepare(self, target: Any) -> torch.Tensor:
        return target.images

    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        return cache


class Smear(Editor[PluginConfig, PluginConfig]):
    """Makes numbers that aren't any of latents."""

    name = "smear"
    api = "1.0"
    needs_directions = False

    def apply(self, subject: Any, edit: Any, directions: Any = None, others: Any = ()) -> Any:
        return self.edited(subject, edit, ws=subject.inversion.ws * torch.nan)


class Fewer(Estimator[PluginConfig]):
    """Gives fewer cameras than there are pictures."""

    name = "fewer"
    api = "1.0"

    def estimate(self, images: torch.Tensor, generator: Any) -> Camera:
        return generator.spec.camera.front()


class Nobody(Fewer):
    """The same of an estimator."""

    name = "nobody"

    @classmethod
    def create(cls, config: PluginConfig) -> Any:
        return None


FAULTS = {
    Burnt: "generator burnt: its render() has 3072 of 3072 numbers of image not finite",
    Small: "generator small: its render() has image of shape [1, 3, 16, 16], expected a tensor "
    "[1, 3, 32, 32]",
    Bare: "generator bare: its render() returned a Tensor, expected a Rendering",
    Bright: "generator bright: its render() has an image that reaches 2",
    Wide: "generator wide: its map() has ws of shape [1, 8, 8], expected a tensor [1, 4, 8]",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_generator_that_doesnt_do_as_it_says_is_named(kind: type[Mine]) -> None:
    check_generator(Mine(ToyConfig()))
    with pytest.raises(ContractError) as caught:
        check_generator(kind(ToyConfig()))
    assert str(caught.value).startswith(FAULTS[kind]) and "\n" not in str(caught.value)


def test_what_is_built_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in registered(
        monkeypatch, f"losses:nothing={HERE}:Nothing,estimators:nobody={HERE}:Nobody"
    ):
        with pytest.raises(
            ContractError, match=r"loss nothing: its create\(\) returned a NoneType"
        ):
            load_loss("nothing")
        with pytest.raises(ContractError, match=r"estimator nobody: its create\(\) returned"):
            load_estimator("nobody")


def test_only_those_of_others_are_tried_before_a_run() -> None:
    assert is_foreign(Mine(ToyConfig())) and not is_foreign(ToyGenerator(ToyConfig()))


def test_what_a_fit_renders_is_looked_at_too() -> None:
    generator = Small(ToyConfig()).requires_grad_(False)
    context, views = Context.create(), toy_capture(ToyGenerator(ToyConfig()), 2)
    target = target_of(generator, views)
    look = Look(views.camera, context.objective({"mse": LossTerm(weight=1)}, target))
    ws = toy_latents(generator, 1).requires_grad_()
    with pytest.raises(ContractError, match=r"generator small: .* \[2, 3, 16, 16\]"):
        context.backward(generator, ws, look)


def test_what_wasnt_asked_for_may_be_missing() -> None:
    generator = Mine(ToyConfig())
    check_rendering(generator, Rendering(), (), 1)
    with pytest.raises(ContractError, match="has a NoneType as depth, expected a tensor"):
        check_rendering(generator, Rendering(), ("depth",), 1)


def result(generator: ToyGenerator, **changes: Any) -> Inversion:
    front = generator.spec.camera.front()
    made = Inversion(toy_latents(generator, 1), front, "toy", generator.spec.fingerprint)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ws": torch.full((1, 4, 8), torch.nan)}, "has 32 of 32 numbers of ws not finite"),
        ({"ws": torch.zeros(1, 2, 8)}, "has ws of shape [1, 2, 8], expected a tensor [N, 4, 8]"),
        ({"fingerprint": "other"}, "is of generator other, expected toy, "),
        ({"offset": {"centres": torch.full((1, 8, 3), torch.inf)}}, "numbers of offset/centres"),
    ],
)
def test_a_result_that_cant_be_one_is_the_methods(changes: dict[str, Any], said: str) -> None:
    generator = ToyGenerator(ToyConfig())
    check_result(result(generator), generator, "mine")
    with pytest.raises(ContractError) as caught:
        check_result(result(generator, **changes), generator, "mine")
    assert str(caught.value).startswith("method mine: its result ") and said in str(caught.value)


EDIT = Made("editor", "mine")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ws": torch.full((1, 4, 8), torch.nan)}, "has 32 of 32 numbers of ws not finite"),
        ({"ws": torch.zeros(1, 2, 8)}, "has ws of shape [1, 2, 8], expected a tensor [N, 4, 8]"),
        ({"fingerprint": "other"}, "is of generator other, expected toy, "),
        ({"history": ()}, "has 0 more entries in its history, expected the edit"),
        ({"history": (EDIT, EDIT)}, "has 2 more entries in its history, expected the edit"),
        ({"history": (Made("editor", "theirs"),)}, "has 1 more entries in its history"),
    ],
)
def test_an_edit_that_cant_be_one_is_the_editors(changes: dict[str, Any], said: str) -> None:
    generator = ToyGenerator(ToyConfig())
    before, good = result(generator), result(generator, history=(EDIT,))
    assert check_edited(good, before, generator, "mine") is good
    with pytest.raises(ContractError) as caught:
        check_edited(replace(good, **changes), before, generator, "mine")
    assert str(caught.value).startswith("editor mine: its result ") and said in str(caught.value)
    with pytest.raises(ContractError, match=r"^editor mine: its apply returned a Tensor, expected"):
        check_edited(good.ws, before, generator, "mine")


def test_directions_that_cant_be_any_are_the_editors() -> None:
    check_tensors("directions", {"mean": torch.zeros(8)})
    for tensors, said in (
        ({}, "directions have no tensors"),
        ({"mean": 1.0}, "directions have a float as 'mean', expected a tensor"),
        ({"mean": torch.full((8,), torch.nan)}, "has 8 of 8 numbers of 'mean' not finite"),
    ):
        with pytest.raises(ContractError, match=said):
            check_tensors("directions", tensors)


def test_cameras_that_cant_be_any_are_the_estimators() -> None:
    good = ToyGenerator(ToyConfig()).spec.camera.orbit(torch.tensor([0.0, 0.5]))
    assert check_cameras(good, 2, "mine") is good
    mirrored = good.cam2world * torch.tensor([-1.0, 1.0, 1.0, 1.0])
    sized = good.cam2world * torch.tensor([1.1, 1.1, 1.1, 1.0])
    for found, said in (
        (good.labels(), "returned a Tensor, expected a Camera"),
        (good[:1], "returned 1 cameras, expected 2, one a picture"),
        (Camera(good.cam2world * torch.nan, good.intrinsics), "32 of 50 numbers of the cameras"),
        (Camera(mirrored, good.intrinsics), "cameras whose 3x3 part is no rotation"),
        (Camera(sized, good.intrinsics), "cameras whose 3x3 part is no rotation"),
    ):
        with pytest.raises(ContractError) as caught:
            check_cameras(found, 2, "mine")
        assert str(caught.value).startswith("estimator mine: its estimate ")
        assert said in str(caught.value)


@pytest.fixture
def capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    written = write_capture(tmp_path / "capture", 2)
    kinds = {"burnt": "generators", "mine": "generators", "smear": "editors", "fewer": "estimators"}
    more = (f"{kind}:{name}={HERE}:{name.title()}" for name, kind in kinds.items())
    for _ in registered(monkeypatch, *more):
        yield written


def test_a_run_with_a_broken_generator_leaves_nothing(capture: Path, tmp_path: Path) -> None:
    words = ("--generator", "burnt", "--input", capture, *QUICK, "--out", tmp_path / "run")
    fails(run_toy(*words), 1, FAULTS[Burnt])
    assert not (tmp_path / "run").exists()


def test_a_broken_edit_leaves_nothing(capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--input", capture, *QUICK, "--out", out, "--no-report")
    assert run_toy(*words).exit_code == 0
    edit = ["edit", str(out), "--editor", "smear", "-o", str(tmp_path / "edited")]
    said = "editor smear: its result has 32 of 32 numbers of ws not finite"
    fails(CliRunner().invoke(main, edit), 1, said)
    assert not (tmp_path / "edited").exists()


def test_a_broken_estimator_is_named_before_the_run(capture: Path, tmp_path: Path) -> None:
    (capture / "dataset.json").unlink()
    words = ("--input", capture, "--camera", "auto:fewer", *QUICK, "--out", tmp_path / "run")
    fails(run_toy(*words), 1, "estimator fewer: its estimate returned 1 cameras, expected 2")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_plugins_are_gone_says_what_to_install(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    words = ("--generator", "mine", "--input", capture, *QUICK, "--out", out, "--no-report")
    assert run_toy(*words).exit_code == 0
    text = (out / "run.json").read_text().replace('"INV3D_PLUGINS"', '"inv3d-mine"')
    (out / "run.json").write_text(text.replace('"version": ""', '"version": "1.2"'))
    for _ in registered(monkeypatch):
        done = CliRunner().invoke(main, ["render", str(out), "-o", str(tmp_path / "x.png")])
        fails(done, 2, "made with generator 'mine', which can't be used here (unknown generator")
        assert "install it again with 'pip install inv3d-mine==1.2'" in done.stderr
        (out / "run.json").write_text(
            text.replace('"finished"', '"interrupted"').replace('"wplus"', '"lost"')
        )
        fails(resume(out), 2, "made with method 'lost', which can't be used here")
