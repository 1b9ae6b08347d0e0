"""Whole trainings: what they leave, how they stop, and that they go on to the same weights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from inv3d.core.errors import (
    ConfigError,
    ContractError,
    DivergedError,
    InputError,
    InterruptedRun,
    InvError,
    RunError,
    UsageError,
    WeightsError,
)
from inv3d.core.generator import Generator
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hookspecs import hookimpl
from inv3d.core.trained import FILE, Trained
from inv3d.core.training import Trainable
from inv3d.core.weights.tensors import read_tensors
from inv3d.rundir.lock import held
from inv3d.runs.display import Told
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture
from inv3d.train.execute import resume_training, start_training
from inv3d.train.prepare import TrainRequest
from inv3d.train.store import CHECKPOINT, LOG, PAGE, RECORD, TrainingDirectory
from inv3d.train.team import LeftAlone, Team
from inv3d.train.trainer import Trainer
from tests.blank_plots import blank_plots
from tests.toy_runs import write_capture
from tests.train.toy_encoder import PLUGINS, ToyEncoder

STEPS = 12


def _request(plugin: str = "toyenc", **training: Any) -> TrainRequest:
    options = {"training": {"steps": STEPS, "batch": 4, "lr": 1e-2, "average": 0.9, **training}}
    return TrainRequest(plugin, "toy", options=options, checkpoint_every=5, evaluate_every=6)


def _train(request: TrainRequest, out: Path, on_step: Any = lambda step: None) -> TrainingDirectory:
    with blank_plots():
        return start_training(request, out, Told(on_step), overwrite=False, command=["test"])


def _resume(out: Path, training: dict[str, Any] | None = None) -> TrainingDirectory:
    with blank_plots():
        return resume_training(out, Told(lambda step: None), training)


def _checkpoint(out: Path) -> dict[str, Tensor]:
    return read_tensors(out / CHECKPOINT)[0]


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_a_training_leaves_networks_a_record_and_a_page(tmp_path: Path) -> None:
    seen: list[float] = []
    directory = _train(
        _request(), tmp_path / "out", lambda step: seen.append(step.losses["latent"])
    )
    assert len(seen) == STEPS and sum(seen[-3:]) < sum(seen[:3])
    trained = Trained.load(tmp_path / "out")
    assert (trained.plugin, trained.generator, trained.steps) == ("toyenc", "toy", STEPS)
    assert "1.running_mean" in trained.tensors and trained.latent_avg is not None
    assert not any("critic" in name for name in trained.tensors)  # only what inverts is kept
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["status"] == "finished" and record == directory.record
    assert [row["step"] for row in record["evaluations"]] == [6, 12]
    assert trained.facts["evaluation"] == record["evaluations"][-1]
    page = (tmp_path / "out" / PAGE).read_text()
    assert "same again" in page and page.count("<img") == 16 and "toyenc for toy" in page
    rows = [json.loads(line) for line in (tmp_path / "out" / LOG).read_text().splitlines()]
    assert rows[-1]["step"] == STEPS - 1 and "critic/total" in rows[0]["losses"]
    with pytest.raises(RunError, match="a training is there; go on with '3dinv train --resume"):
        _train(_request(), tmp_path / "out")


def test_the_critic_gets_its_own_gradient_only_and_only_when_it_is_due(tmp_path: Path) -> None:
    _train(_request(steps=1), tmp_path / "one")
    _train(_request(steps=2), tmp_path / "two")
    one, two = (_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert torch.equal(one["network/critic.weight"], two["network/critic.weight"])
    assert not torch.equal(one["network/encode.0.weight"], two["network/encode.0.weight"])


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    _train(_request(), tmp_path / "whole")

    def stop(step: Any) -> None:
        if step.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRun, match=r"stopped after 8 of 12 steps; continue with '3dinv"):
        _train(_request(), tmp_path / "cut", stop)
    assert TrainingDirectory.reopen(tmp_path / "cut").record["status"] == "interrupted"
    directory = _resume(tmp_path / "cut")
    assert _same(_checkpoint(tmp_path / "whole"), _checkpoint(tmp_path / "cut"))
    assert directory.record["status"] == "finished"
    assert [row["step"] for row in directory.record["evaluations"]] == [6, 12]
    assert [row["step"] for row in directory.rows()][-1] == STEPS - 1


class Watcher:
    """A logger that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @hookimpl
    def inv3d_training_start(self, directory: Path, config: dict[str, Any]) -> None:
        self.told.append(("start", directory.name, config["status"]))

    @hookimpl
    def inv3d_training_step(self, progress: Any) -> None:
        self.told.append(("step", progress.step))

    @hookimpl
    def inv3d_training_checked(self, step: int, values: dict[str, float]) -> None:
        self.told.append(("checked", step, set(values)))

    @hookimpl
    def inv3d_training_end(self, error: BaseException | None) -> None:
        self.told.append(("end", type(error).__name__))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What watchers were told of a whole training, of one that breaks, and of one that goes on."""
    tmp_path, watchers = tmp_path_factory.mktemp("watched"), [Watcher() for _ in range(3)]
    waiting = iter(watchers)
    request, show = _request(steps=3), Told(lambda step: None)
    options: dict[str, Any] = {"overwrite": False, "command": ["test"], "loggers": ["mine"]}
    with pytest.MonkeyPatch.context() as patch, blank_plots():
        patch.setenv("INV3D_PLUGINS", ",".join(PLUGINS))
        registry.cache_clear()
        patch.setattr(
            "inv3d.train.execute.open_loggers",
            lambda asked: {name: next(waiting) for name in asked},
        )
        start_training(request, tmp_path / "a", show, **options)
        with pytest.raises(DivergedError):
            start_training(_request(steps=3, break_at=1), tmp_path / "b", show, **options)
        resume_training(tmp_path / "a", show, {"steps": 4}, ["mine"])
    registry.cache_clear()
    return [watcher.told for watcher in watchers]


def test_hook_training_start_is_told_directory_and_config(watched: list[list[Any]]) -> None:
    assert [told[0] for told in watched] == [("start", n, "running") for n in ("a", "b", "a")]


def test_hook_training_step_is_told_every_step(watched: list[list[Any]]) -> None:
    steps = [[row[1] for row in told if row[0] == "step"] for told in watched]
    assert steps == [[0, 1, 2], [0], [3]]


def test_hook_training_checked_is_told_values_of_held_out_pictures(
    watched: list[list[Any]],
) -> None:
    whole, broken, _ = watched
    assert whole[-2] == ("checked", 3, {"latent"})
    assert "checked" not in [row[0] for row in broken]


def test_hook_training_end_is_told_what_went_wrong(watched: list[list[Any]]) -> None:
    ends = [("end", name) for name in ("NoneType", "DivergedError", "NoneType")]
    assert [told[-1] for told in watched] == ends


def test_a_training_goes_on_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = toy_capture(ToyGenerator(ToyConfig()), 12)
    (tmp_path / "faces").mkdir()
    write_capture(capture, tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    request = replace(_request(steps=2), data=("faces=2", "generated"))
    _train(request, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    directory = _resume(tmp_path / "out", {"steps": 4})
    assert directory.record["status"] == "finished"
    assert directory.request.data == (f"{tmp_path / 'faces'}=2", "generated")


def test_what_pictures_say_is_said_of_a_training(tmp_path: Path) -> None:
    capture = toy_capture(ToyGenerator(ToyConfig()), 12)
    (tmp_path / "faces").mkdir()
    write_capture(capture, tmp_path / "faces")
    for path in (tmp_path / "faces").glob("*.png"):
        with Image.open(path) as image:
            wide = image.resize((2 * image.width, image.height))
        wide.save(path)
    request = replace(_request(steps=1), data=(str(tmp_path / "faces"),))
    warnings = _train(request, tmp_path / "out").record["warnings"]
    assert any("cropped to the square" in text for text in warnings)


def test_a_generators_wrong_suggestion_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyGenerator, "training_options", {"toyenc": {"warmup": -1}})
    with pytest.raises(ContractError, match=r"^generator toy: its training_options: .*'warmup' of"):
        _train(_request(), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"^option 'warmup' of training of toyenc: -2"):
        _train(_request(warmup=-2), tmp_path / "a")
    with pytest.raises(ConfigError, match=r"^options of training of toyenc: input should be a"):
        _train(replace(_request(), options={"training": 5}), tmp_path / "a")


def test_networks_may_be_kept_in_half_the_room(tmp_path: Path) -> None:
    _train(_request(), tmp_path / "whole")
    _train(_request(keep="fp16"), tmp_path / "half")
    whole, half = (Trained.load(tmp_path / name).tensors for name in ("whole", "half"))
    for name, tensor in whole.items():
        assert torch.equal(half[name], tensor.half() if tensor.is_floating_point() else tensor)
    assert _same(_checkpoint(tmp_path / "whole"), _checkpoint(tmp_path / "half"))


def test_numbers_too_large_for_half_the_room_are_kept_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ToyEncoder.build

    def loud(self: ToyEncoder, generator: Generator) -> nn.Module:
        network = build(self, generator)
        network["encode"][1].running_var.fill_(1e6)  # type: ignore[index]
        return network

    monkeypatch.setattr(ToyEncoder, "build", loud)
    _train(_request(steps=1, average=0.0, keep="fp16"), tmp_path / "half")
    half = Trained.load(tmp_path / "half").tensors
    assert float(half["1.running_var"].min()) > 65504 and half["0.weight"].dtype == torch.float16


def test_a_finished_training_is_kept_in_half_the_room_afterwards(tmp_path: Path) -> None:
    _train(_request(steps=2), tmp_path / "out")
    whole = Trained.load(tmp_path / "out")
    _resume(tmp_path / "out", {"keep": "fp16"})
    half = Trained.load(tmp_path / "out")
    assert half.training["keep"] == "fp16" and half.facts == whole.facts
    assert all(torch.equal(half.tensors[n], t.half()) for n, t in whole.tensors.items() if t.ndim)


class Killed(BaseException):
    """A process that dies at once."""


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    _train(_request(pool=6), tmp_path / "whole")

    def die(step: Any) -> None:
        if step.step == 8:
            raise Killed

    with pytest.raises(Killed):
        _train(_request(pool=6), tmp_path / "cut", die)
    assert read_tensors(tmp_path / "cut" / CHECKPOINT)[1]["done"] == 5
    _resume(tmp_path / "cut")
    assert _same(_checkpoint(tmp_path / "whole"), _checkpoint(tmp_path / "cut"))


def test_a_training_may_go_on_to_a_later_end(tmp_path: Path) -> None:
    _train(_request(), tmp_path / "long")
    _train(_request(steps=7), tmp_path / "short")
    directory = _resume(tmp_path / "short", {"steps": STEPS})
    assert directory.record["training"]["steps"] == STEPS
    assert _same(_checkpoint(tmp_path / "long"), _checkpoint(tmp_path / "short"))


def test_a_training_begins_with_networks_for_other_weights_of_the_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(), tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    other = {"generator": {"seed": 5}}
    begun = _request(steps=1, lr=1e-12, average=0.0, begin="old")
    begun = replace(begun, options={**begun.options, **other})
    _train(begun, tmp_path / "new")
    old, new = Trained.load(tmp_path / "old"), Trained.load(tmp_path / "new")
    assert old.fingerprint != new.fingerprint
    weights = [name for name in old.tensors if "running" not in name and "num_" not in name]
    for name in weights:
        torch.testing.assert_close(new.tensors[name], old.tensors[name], rtol=0, atol=1e-9)
    assert new.training["begin"] == str(tmp_path / "old")


def test_what_a_plugin_begins_with_by_itself_is_not_asked_for_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(), tmp_path / "old")
    asked: list[object] = []
    monkeypatch.setattr(Trainable, "begin", lambda *_: asked.append(None))
    _train(_request(steps=1), tmp_path / "fresh")
    assert asked
    asked.clear()
    _train(_request(steps=1, begin=tmp_path / "old"), tmp_path / "begun")
    assert not asked


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        ("old", "networks of toyenc, expected those of toypose"),
        ("none", "none: no such file; give"),
    ],
)
def test_networks_that_cannot_be_begun_with_are_one_line(
    begin: str, said: str, tmp_path: Path
) -> None:
    _train(_request(steps=1), tmp_path / "old")
    request = TrainRequest("toypose", "toy", options={"training": {"begin": tmp_path / begin}})
    with pytest.raises(InvError, match=said):
        _train(request, tmp_path / "new")


def test_a_training_that_has_begun_needs_what_it_began_with_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(steps=1), tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    _train(_request(steps=2, begin=Path("old")), tmp_path / "new")
    asked = json.loads((tmp_path / "new" / RECORD).read_text())["request"]["options"]
    assert asked["training"]["begin"] == str(tmp_path / "old")
    (tmp_path / "old" / FILE).unlink()
    assert _resume(tmp_path / "new", {"steps": 3}).record["steps"] == 3
    with pytest.raises(ConfigError, match=r"training\.begin: counts at the beginning .* alone"):
        _resume(tmp_path / "new", {"begin": "old"})


def test_a_training_is_replaced_only_by_one_that_can_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(steps=1), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again: dict[str, Any] = {"overwrite": True, "command": ["test"]}
    with held(tmp_path / "out"), pytest.raises(RunError, match="is writing this run"):
        start_training(_request(), tmp_path / "out", Told(lambda step: None), **again)

    def missing(*_: Any) -> Any:
        raise WeightsError("a loss's weights aren't there")

    monkeypatch.setattr("tests.train.toy_encoder.ToyEncoder.losses", missing)
    for name in ("out", "fresh"):
        with pytest.raises(WeightsError, match="aren't there"):
            start_training(_request(), tmp_path / name, Told(lambda step: None), **again)
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert before.items() <= after.items()
    assert not (tmp_path / "fresh").exists()


def test_an_average_may_begin_on_the_way_but_no_other_optimiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(steps=2, average=0.0), tmp_path / "out")
    _resume(tmp_path / "out", {"steps": 3, "average": 0.5})
    tensors = _checkpoint(tmp_path / "out")
    moved = tensors["network/encode.4.weight"] - tensors["average/encode.4.weight"]
    assert 0 < float(moved.abs().max()) < 0.1  # it began with the weights as they were
    monkeypatch.setattr(
        "tests.train.toy_encoder.ToyEncoder.optimizers",
        lambda self, network, training: {
            name: torch.optim.SGD(part.parameters(), lr=0.1) for name, part in network.items()
        },
    )
    with pytest.raises(RunError, match="'encode' was trained by Adam, which can't become SGD"):
        _resume(tmp_path / "out", {"steps": 4})


def test_steps_are_kept_where_an_evaluation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RunError("held-out pictures are gone")

    monkeypatch.setattr("inv3d.train.execute.evaluate", fails)
    with pytest.raises(RunError, match="are gone"):
        _train(_request(steps=2), tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setenv("INV3D_PLUGINS", ",".join(PLUGINS))
    assert Trained.load(tmp_path / "out").steps == 2
    assert _resume(tmp_path / "out").record["status"] == "finished"


def test_what_is_not_finite_stops_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    message = (
        r"step 7: loss 'total' \(nan\) isn't finite; the weights of step 5 are kept in .*bad; "
    )
    with pytest.raises(
        DivergedError, match=message + "go on with '3dinv train --resume .*lr=0.003"
    ):
        _train(_request(break_at=7), tmp_path / "bad")
    _train(_request(steps=5), tmp_path / "good")
    assert _same(_checkpoint(tmp_path / "bad"), _checkpoint(tmp_path / "good"))
    record = TrainingDirectory.reopen(tmp_path / "bad").record
    assert record["status"] == "failed" and "isn't finite" in record["error"]
    record = _resume(tmp_path / "bad", {"lr": 0.003, "break_at": -1}).record
    assert record["status"] == "finished" and "error" not in record


def test_a_picture_that_can_not_be_read_costs_no_step(tmp_path: Path) -> None:
    capture = write_capture(toy_capture(ToyGenerator(ToyConfig()), 12), tmp_path / "faces")
    request = replace(_request(accumulate=2), data=(str(capture),), checkpoint_every=100)
    whole = _train(request, tmp_path / "whole")
    pictures = {path: path.read_bytes() for path in capture.glob("*.png")}

    def damage(progress: Any) -> None:
        if progress.step == 6:
            for path in pictures:
                path.write_bytes(b"xx")

    with pytest.raises(InputError, match=r"can't be read .*; [789] steps are kept: put it right"):
        _train(request, tmp_path / "run", damage)
    for path, content in pictures.items():
        path.write_bytes(content)
    assert _resume(tmp_path / "run").record["status"] == "finished"
    assert _same(_checkpoint(tmp_path / "run"), _checkpoint(whole.path))


def test_another_process_that_ends_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = _train(_request(), tmp_path / "whole"), []

    def average(team: Team, tensors: Any) -> None:
        calls.append(team)
        if len(calls) == 8:
            raise LeftAlone("another of the processes has ended; see its message")

    monkeypatch.setattr(Team, "average", average)
    with pytest.raises(RunError, match=r"see its message; 7 steps are kept: put it right"):
        _train(_request(), tmp_path / "run")
    assert _resume(tmp_path / "run").record["status"] == "finished"
    assert _same(_checkpoint(tmp_path / "run"), _checkpoint(whole.path))


def test_pictures_that_change_on_the_way_are_said(tmp_path: Path) -> None:
    capture = write_capture(toy_capture(ToyGenerator(ToyConfig()), 12), tmp_path / "faces")
    request = replace(_request(steps=2, hold_out=1), data=(str(capture),))
    _train(request, tmp_path / "run")
    labels = json.loads((capture / "dataset.json").read_text())
    (capture / labels["labels"].pop()[0]).unlink()
    (capture / "dataset.json").write_text(json.dumps(labels))
    with pytest.warns(UserWarning, match="its pictures or labels have changed since"):
        _resume(tmp_path / "run", {"steps": 3})
    with pytest.raises(ConfigError, match=r"training\.hold_out: counts at the beginning"):
        _resume(tmp_path / "run", {"hold_out": 2})


def test_options_of_pictures_that_there_are_none_of_are_said(tmp_path: Path) -> None:
    request = _request(steps=1, mirror=False)
    said = _train(request, tmp_path / "run").record["warnings"]
    assert (
        "--set training.mirror: counts for pictures from files alone, and --data has none" in said
    )


def test_where_there_is_no_checkpoint_yet_the_weights_before_are_kept(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="isn't finite; the weights of step 3 are kept"):
        _train(_request(break_at=3), tmp_path / "bad")
    _train(_request(steps=3), tmp_path / "good")
    assert _same(_checkpoint(tmp_path / "bad"), _checkpoint(tmp_path / "good"))


def test_weights_that_are_not_finite_are_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = Trainer._follow

    def ruined(self: Trainer) -> None:
        next(self.network.parameters()).data.flatten()[0] = torch.inf
        follow(self)

    monkeypatch.setattr(Trainer, "_follow", ruined)
    with pytest.raises(DivergedError, match=r"step 0: weight '.*' isn't finite after it"):
        _train(_request(steps=1), tmp_path / "bad")
    assert not (tmp_path / "bad" / FILE).exists()
    for rate in (torch.inf, 1e38):
        with pytest.raises(ConfigError, match=r"option 'lr' of training"):
            _train(_request(lr=rate), tmp_path / "worse")


@pytest.mark.parametrize("missing", ["evaluate", "save"])
def test_what_failed_after_the_last_step_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Such as networks that found the disk full, behind a checkpoint that fitted."""

    def fails(*_: Any) -> None:
        raise RunError("no space")

    with monkeypatch.context() as patch:
        if missing == "evaluate":
            patch.setattr("inv3d.train.execute.evaluate", fails)
        else:
            patch.setattr(TrainingDirectory, "keep", fails)
        with pytest.raises(RunError, match="no space"):
            _train(_request(steps=4), tmp_path / "out")
    directory = _resume(tmp_path / "out")
    _train(_request(steps=4), tmp_path / "whole")
    whole = TrainingDirectory.reopen(tmp_path / "whole")
    for name in ("status", "steps", "evaluations"):
        assert directory.record[name] == whole.record[name]
    assert "error" not in directory.record and (tmp_path / "out" / PAGE).is_file()
    kept, expected = Trained.load(tmp_path / "out"), Trained.load(tmp_path / "whole")
    assert _same(dict(kept.tensors), dict(expected.tensors))
    assert kept.facts["evaluation"] == expected.facts["evaluation"]


def test_a_training_goes_on_to_later_steps_only(tmp_path: Path) -> None:
    _train(_request(steps=4), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"steps=3: .*out has taken 4 steps already; give a larg"):
        _resume(tmp_path / "out", {"steps": 3})


def test_what_a_training_begins_with_is_not_overwritten(tmp_path: Path) -> None:
    _train(_request(steps=2), tmp_path / "first")
    with pytest.raises(
        UsageError, match=r"first: is what --set training\.begin names, which stays"
    ):
        _train(_request(steps=2, begin=str(tmp_path / "first")), tmp_path / "first")
    assert Trained.load(tmp_path / "first").steps == 2


def test_what_another_process_did_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(_request(steps=2), tmp_path / "out")
    before = held

    def after_another(path: Path) -> Any:
        monkeypatch.setattr("inv3d.train.execute.held", before)
        _resume(tmp_path / "out", {"steps": 4})
        return before(path)

    monkeypatch.setattr("inv3d.train.execute.held", after_another)
    record = _resume(tmp_path / "out", {"steps": 6}).record
    assert [row["step"] for row in record["evaluations"]] == [2, 4, 6]


@pytest.mark.parametrize("name", ["generator", "plugin", "evaluations", "warnings", "command"])
def test_a_record_without_a_part_is_refused(tmp_path: Path, name: str) -> None:
    _train(_request(steps=1), tmp_path / "out")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    del record[name]
    (tmp_path / "out" / RECORD).write_text(json.dumps(record))
    with pytest.raises(
        RunError, match=r"train\.json: isn't the record of a training, or not all of it"
    ):
        _resume(tmp_path / "out")


@pytest.mark.parametrize(
    "name, value",
    [
        ("seed", "x"),
        ("seed", 1.5),
        ("data", [1]),
        ("options", []),
        ("generator", None),
        ("preset", 3),
        ("checkpoint_every", "often"),
        ("weights", 3),
    ],
)
def test_a_request_of_other_types_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    place = tmp_path / RECORD
    values = _request().plain()
    assert TrainRequest.read(values, place) == _request()
    with pytest.raises(RunError, match=rf"isn't the record of a training \('{name}' of its req"):
        TrainRequest.read({**values, name: value}, place)


def test_a_training_without_its_checkpoint_keeps_its_networks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _train(_request(steps=2), out)
    (out / CHECKPOINT).unlink()
    kept = (out / FILE).read_bytes()
    with pytest.raises(RunError, match=r"has taken 2 steps, but its checkpoint\.safetensors is mi"):
        _resume(out, {"steps": 4})
    assert (out / FILE).read_bytes() == kept


def test_processes_that_can_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 2, but .*start them with torchrun"):
        _train(_request(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inv3d.core.weights import tensors

    save, written = tensors.save_file, []

    def full(ready: Any, path: Any, metadata: Any) -> None:
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        save(ready, path, metadata)

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: can't be written .*free some"):
        _train(_request(), tmp_path / "out")
    assert read_tensors(tmp_path / "out" / CHECKPOINT)[1]["done"] == 5
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".check")]


def test_parts_of_a_step_add_up_to_the_whole(tmp_path: Path) -> None:
    """With normalisation that doesn't depend on the other pictures."""
    whole, parts = (_request("toypose", accumulate=n, average=0.0) for n in (1, 2))
    _train(whole, tmp_path / "whole")
    _train(parts, tmp_path / "parts")
    first, second = (_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    for name in ("network/weight", "network/bias"):
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-6)


def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """Batch normalisation included, which sees the pictures of both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = [sys.executable, "-m", "inv3d", "train", "toyenc", "--generator", "toy"]
    arguments += ["-o", str(tmp_path / "two"), "--device", "cpu", "--evaluate-every", "100"]
    for name, value in _request(steps=3, noise=0.0).options["training"].items():
        arguments += ["--set", f"training.{name}={value}"]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            arguments,
            env={**os.environ, **shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "everything is in" in said[0] and said[1] == ""
    _train(_request(steps=3, noise=0.0), tmp_path / "one")
    one, two = (_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-4, atol=2e-5, msg=name)


def test_another_place_or_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="exists and is no training"):
        _train(_request(), tmp_path / "mine")
    with pytest.raises(RunError, match=r"no train\.json; give the directory of a training"):
        _resume(tmp_path / "mine")
    (tmp_path / "mine" / RECORD).write_text('{"request": {"colour": "red"}}')
    with pytest.raises(RunError, match="isn't the record of a training"):
        _resume(tmp_path / "mine")
    assert not (tmp_path / "mine" / FILE).exists()
