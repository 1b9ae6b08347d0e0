"""The conformance suites: every built-in plugin passes its own, and broken ones don't."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.camera import Camera
from inv3d.core.config import PluginConfig
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.errors import PluginError, UsageError
from inv3d.core.estimator import Estimator
from inv3d.core.inverter import Inverter
from inv3d.core.loss import Loss
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.core.registry.record import PluginRecord
from inv3d.core.scene import Rendering
from inv3d.testing import conformance
from inv3d.testing.conformance import CHECKS, SUITES, check_plugin
from inv3d.testing.results import Report, Result
from inv3d.testing.toy import ToyGenerator
from tests.tiny_generators import OWN, TINY

torch.set_num_threads(1)
# options under which a check takes a second
OPTIONS: dict[str, dict[str, Any]] = {
    "eg3d": {**TINY, "random_weights": True},
    "panohead": {**TINY, **OWN["panohead"], "random_weights": True},
    "minihead": {"render_resolution": 16, "samples": 48},
    "symmetry": {"uncertainty": "visible"},
}
RANDOM = {"keeps to the ranges": "random weights make pictures of any brightness"}
EXPECTED: dict[str, dict[str, str]] = {
    "eg3d": RANDOM,
    "panohead": RANDOM,
    "noise": {"judges each view alone": "one number of all views, shared out among them"},
}
OURS = [r for r in registry().records if r.own]


@pytest.mark.parametrize("record", [pytest.param(r, id=f"{r.kind}-{r.name}") for r in OURS])
def test_every_built_in_plugin_conforms(record: PluginRecord) -> None:
    options, expected = OPTIONS.get(record.name), EXPECTED.get(record.name)
    report = check_plugin(record.name, record.kind, options=options, expected_failures=expected)
    print(report)
    report.require()
    assert report.counts()["checks"] == CHECKS[record.kind]
    assert report.counts()["passed"] > CHECKS[record.kind] // 3


def test_every_kind_has_a_suite_whose_checks_say_what_they_see() -> None:
    for kind, suite in SUITES.items():
        assert len(suite.checks) == CHECKS[kind]
        assert all(check.__doc__ for check in suite.checks.values())
    assert sum(CHECKS.values()) > 150


def test_a_suite_that_lost_a_check_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conformance.CHECKS, "losses", CHECKS["losses"] + 1)
    with pytest.raises(AssertionError, match="the suite of losses has"):
        check_plugin("mse")


# --- what broken plugins are told


class Toy(ToyGenerator):
    """A toy of another package."""

    name = "mine"
    api = "1.0"
    licence = "MIT"


class Forgetful(Toy):
    def render(self, scene: Any, camera: Any, **options: Any) -> Rendering:
        seen = super().render(scene, camera, **options)
        return Rendering(**{n: getattr(seen, n) for n in options.get("outputs", ())})


class Detached(Toy):
    def synthesize(self, ws: torch.Tensor) -> Any:
        return super().synthesize(ws.detach())


class Mixed(Toy):
    def synthesize(self, ws: torch.Tensor) -> Any:
        scene = super().synthesize(ws)
        return scene.apply(lambda t: t if t.shape[1:] == ws.shape[1:] else t - t.mean(0))


class Sprawling(Toy):
    def render(self, scene: Any, camera: Any, **options: Any) -> Rendering:
        seen = super().render(scene, camera, **options)
        made = {n: v for n, v in vars(seen).items() if v is not None}
        return Rendering(**made | {"image": made["image"] * 4} if "image" in made else made)


class Learning(Toy):
    @classmethod
    def create(cls, config: PluginConfig, weights: Path | None = None) -> Any:
        return super().create(config, weights).train()


class Random(Toy):
    def synthesize(self, ws: torch.Tensor) -> Any:
        scene = super().synthesize(ws)
        return scene.apply(lambda t: t if t.shape == ws.shape else t + torch.randn(()))


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (Forgetful, "renders what its spec promises", "the rendering's ws is a NoneType"),
        (Detached, "has gradients of latents cameras and weights", "no gradient reaches the lat"),
        (Mixed, "makes each scene alone", "of one scene differs by up to"),
        (Sprawling, "keeps to the ranges", "expected -1.5 to 1.5"),
        (Learning, "is built ready for use", "it isn't in eval mode"),
        (Random, "repeats itself under a seed", "another seed of torch"),
    ],
)
def test_broken_generators(kind: Any, check: str, said: str) -> None:
    assert check_plugin(Toy).ok
    expect(check_plugin(kind), check, said)


def expect(report: Report, check: str, said: str) -> None:
    """A check failed, and says so."""
    (found,) = [result for result in report.results if result.name == check]
    assert found.status == "failed" and said in found.said, found
    with pytest.raises(AssertionError, match=check):
        report.require()


class Bright(Loss[PluginConfig, torch.Tensor]):
    """The difference of mean brightness."""

    name = "bright"
    summary = "difference of mean brightness"
    api = "1.0"
    licence = "MIT"

    def prepare(self, target: Any) -> torch.Tensor:
        return target.images.mean((1, 2, 3))

    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        return (rendering.require("image").mean((1, 2, 3)) - cache).square()


class Summed(Bright):
    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        return super().forward(rendering, cache).sum()


class Together(Bright):
    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        values = super().forward(rendering, cache)
        return values + values.max()


class Rooted(Bright):
    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        return super().forward(rendering, cache).sqrt()


class Small(Bright):
    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        values = super().forward(rendering, cache)
        return 1e-3 * values.mean().expand(len(values))


class Halved(Bright):
    def forward(self, rendering: Rendering, cache: torch.Tensor) -> torch.Tensor:
        return super().forward(rendering, cache).half()


class Weighed(PluginConfig):
    weight: float = 1.0


class Hidden(Bright):
    Config: ClassVar[type[PluginConfig]] = Weighed


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (Summed, "gives a number a view", "the loss is [], expected [3]"),
        (Together, "judges each view alone", "of a view alone differs"),
        (Small, "judges each view alone", "of a view alone differs"),
        (Halved, "computes in double precision", "is torch.float16"),
        (Rooted, "is finite where all is right", "numbers that aren't finite"),
        (Hidden, "shadows no option of a term", "option 'weight' is that of every term"),
        (Hidden, "is what its kind demands", "its option 'weight' is hidden by --set losses.NAME"),
        (Hidden, "describes every option", "option 'weight' has no description"),
    ],
)
def test_broken_losses(kind: Any, check: str, said: str) -> None:
    assert check_plugin(Bright).ok
    expect(check_plugin(kind), check, said)


class Guess(Inverter[PluginConfig]):
    """A latent by chance."""

    name = "guess"
    summary = "a random latent"
    api = "1.0"
    licence = "MIT"

    def steps(self, generator: Any, capture: Any, context: Any) -> Any:
        from inv3d.core.fit.stages import prepare

        views = prepare(generator, capture, context)
        shape = (1, generator.spec.num_ws, generator.spec.w_dim)
        ws = self.drawn(shape, context, views.images)
        yield from ()
        return self.inversion(generator, context, ws, views.camera[0])

    def drawn(self, shape: Any, context: Any, like: torch.Tensor) -> torch.Tensor:
        return context.randn(shape, like)


class Dice(Guess):
    def drawn(self, shape: Any, context: Any, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(shape)


class Secret(Guess):
    def steps(self, generator: Any, capture: Any, context: Any) -> Any:
        with torch.no_grad():
            next(generator.parameters()).add_(1)
        return (yield from super().steps(generator, capture, context))


class Unasked(Guess):
    def steps(self, generator: Any, capture: Any, context: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (Dice, "repeats itself under a seed", "ws differs by"),
        (Secret, "says all that it changed", "take a Snapshot before tuning"),
        (Unasked, "returns an inversion", "returns a list, expected a function that yields"),
    ],
)
def test_broken_methods(kind: Any, check: str, said: str) -> None:
    assert check_plugin(Guess).ok
    expect(check_plugin(kind), check, said)


class PullEdit(PluginConfig):
    strength: float = 0.5


class Pull(Editor[PluginConfig, PullEdit]):
    """Towards the middle."""

    name = "pull"
    summary = "towards the middle of the latents"
    api = "1.0"
    licence = "MIT"
    needs_directions = False
    Edit = PullEdit

    def apply(
        self, subject: Subject, edit: PullEdit, directions: Any = None, others: Any = ()
    ) -> Any:
        return self.edited(subject, edit, ws=subject.inversion.ws * (1 - edit.strength))


class InPlace(Pull):
    def apply(
        self, subject: Subject, edit: PullEdit, directions: Any = None, others: Any = ()
    ) -> Any:
        subject.inversion.ws.mul_(1 - edit.strength)
        return self.edited(subject, edit)


class Blind(Pull):
    needs_directions = True

    def fit(self, generator: Any, context: Any) -> Any:
        yield from ()
        spec = generator.spec
        return Directions(self.name, "toy", spec.fingerprint, {"mean": torch.zeros(spec.w_dim)})


class Lost(Pull):
    needs_directions = True


class SheetEdit(PullEdit):
    sheet: bool = False


class Covered(Pull):
    Edit = SheetEdit


def test_broken_editors() -> None:
    undescribed = {"describes every option of an edit": "the option of the test has no text"}
    check_plugin(Pull, expected_failures=undescribed).require()
    expect(check_plugin(Pull), "describes every option of an edit", "option 'strength'")
    expect(check_plugin(InPlace), "leaves its subject alone", "the subject's latents have changed")
    report = check_plugin(Blind)
    expect(report, "refuses directions of another generator", "see check_generator()")
    expect(report, "doesnt work without directions", "it edits without directions")
    demands = "is what its kind demands"
    expect(check_plugin(Lost), demands, "needs directions, but has no fit, take or shipped; write")
    expect(check_plugin(Covered), demands, "option 'sheet' is hidden by --sheet of 3dinv edit")


class Frontal(Estimator[PluginConfig]):
    """Everybody looks straight ahead."""

    name = "frontal"
    summary = "the frontal camera for every picture"
    api = "1.0"
    licence = "MIT"

    def estimate(self, images: torch.Tensor, generator: Any) -> Camera:
        front = generator.spec.camera.front().to(images.device, images.dtype)
        return front.repeat_interleave(len(images))


class Mirrored(Frontal):
    def estimate(self, images: torch.Tensor, generator: Any) -> Camera:
        found = super().estimate(images, generator)
        return Camera(found.cam2world * torch.tensor([-1.0, 1, 1, 1]), found.intrinsics)


def test_broken_estimators() -> None:
    assert check_plugin(Frontal).ok
    expect(check_plugin(Mirrored), "gives cameras that can be", "mirrored")


def hooks(**functions: Any) -> types.ModuleType:
    made = types.ModuleType("hooks_of_the_test", "Hooks of the test.")
    for name, function in functions.items():
        setattr(made, name, hookimpl(function))
    return made


def test_broken_hooks() -> None:
    def raises(directory: Path) -> None:
        raise ValueError("oops")

    assert check_plugin(hooks(inv3d_run_end=lambda metrics: None)).ok
    expect(check_plugin(hooks()), "implements hooks", "no function is marked")
    report = check_plugin(hooks(inv3d_run_start=raises))
    expect(report, "watches a run to its end", "ValueError: oops")
    report = check_plugin(hooks(inv3d_metrics=lambda: {"soft": "l1?resolutoin=3"}))
    expect(report, "names metrics that there are", "resolutoin")
    report = check_plugin(hooks(inv3d_exporters=lambda: {"txt": lambda i, g, path: None}))
    expect(report, "exports files", "writes nothing at its path")


# --- what is expected, what is written


def test_an_expected_failure_passes_and_an_unexpected_pass_fails() -> None:
    check = "gives a number a view"
    dodged = {r.name: "as above" for r in check_plugin(Summed).bad}
    report = check_plugin(Summed, expected_failures=dodged)
    assert report.ok and report.counts()["expected"] == len(dodged)
    report = check_plugin(Bright, expected_failures={check: "it sums"})
    assert [(r.name, r.status) for r in report.bad] == [(check, "unexpected")]
    with pytest.raises(AssertionError, match="but was expected to fail: it sums"):
        report.require()


def test_a_failure_of_a_check_that_isnt_there_cant_be_expected() -> None:
    with pytest.raises(UsageError, match="did you mean 'gives a number a view'"):
        check_plugin(Bright, expected_failures={"gives a number per view": "it sums"})


def test_a_name_that_is_unknown_and_one_of_two_kinds() -> None:
    with pytest.raises(PluginError, match="unknown plugin 'mes'; did you mean 'mse'"):
        check_plugin("mes")
    with pytest.raises(PluginError, match="no subclass of any of inv3d's kinds"):
        check_plugin(int)


def test_the_report_is_written_as_json(tmp_path: Path) -> None:
    report = Report("losses", "mine", "m:M", (Result("a", "passed"), Result("b", "failed", "no")))
    report.write(tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["counts"] == {"checks": 2, "failed": 1, "passed": 1} and not found["ok"]
    assert found["results"][1] == {"name": "b", "status": "failed", "said": "no", "seconds": 0.0}
    assert str(report).splitlines() == [
        "loss mine: 2 checks: 1 failed, 1 passed",
        "  failed: b: no",
    ]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")
    registry.cache_clear()
    yield
    monkeypatch.undo()
    registry.cache_clear()


def test_the_command_prints_every_check_and_fails_where_one_does(
    known: None, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    done = CliRunner().invoke(main, ["validate", "l1", "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    assert f"loss l1: {CHECKS['losses']} checks: {CHECKS['losses']} passed" in done.stdout
    assert json.loads(out.read_text())["ok"]
    words = ["validate", "l1", "--expect-failure", "gives a number a view=no", "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert json.loads(done.stdout)["counts"]["unexpected"] == 1
    assert done.stderr.startswith("error: loss l1: ")


def test_the_command_needs_a_reason_for_a_failure() -> None:
    done = CliRunner().invoke(main, ["validate", "l1", "--expect-failure", "gives"])
    assert done.exit_code == 2 and "expected CHECK=REASON" in done.stderr
