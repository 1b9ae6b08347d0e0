"""Programs are tried once, and whatever is wrong with them costs only time."""

from __future__ import annotations

import time
import warnings

import pytest
import torch

from inv3d.core.errors import Note
from inv3d.nn import trial


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_known", {})


def test_programs_that_pass_are_tried_once(recwarn: pytest.WarningsRecorder) -> None:
    tried: list[bool] = []

    def fault() -> None:
        tried.append(torch.is_grad_enabled() and not torch.is_inference_mode_enabled())

    with torch.inference_mode():
        assert trial.passed("a", "this", fault)
        assert trial.passed("a", "this", fault)
    assert tried == [True]
    assert not recwarn


def test_what_is_wrong_is_warned_of_once() -> None:
    with pytest.warns(RuntimeWarning) as warned:
        assert not trial.passed("a", "this", lambda: "it's off")
        assert not trial.passed("a", "this", lambda: "it's off")
    assert [str(w.message) for w in warned] == [
        "this falls to plain torch, which is slower: it's off"
    ]


def test_programs_that_dont_compile_are_left_out() -> None:
    def fault() -> None:
        raise RuntimeError("in line 3:\nno such instruction\n")

    with pytest.warns(RuntimeWarning, match="slower: RuntimeError: no such instruction$"):
        assert not trial.passed("a", "this", fault)


def test_who_waits_is_told_why(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(trial, "_PATIENCE", 0.01)
    assert trial.passed("a", "this", lambda: time.sleep(0.5))
    monkeypatch.setattr(trial, "_PATIENCE", 0.3)
    assert trial.passed("b", "that", lambda: None)
    time.sleep(0.4)
    (told,) = recwarn
    assert told.category is Note and str(told.message).startswith("warming up: this by programs")


def test_what_is_told_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial, "_PATIENCE", 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trial.passed("a", "this", lambda: time.sleep(0.3))
    assert capsys.readouterr().err == ""


def test_want_of_memory_is_no_fault() -> None:
    """The loop answers it with fewer views at a time."""

    def fault() -> None:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        trial.passed("a", "this", fault)
    assert trial.passed("a", "this", lambda: None)


class _OnGpu:
    """Stands for a tensor there."""

    is_cuda = True
    device = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("cuda", "triton", "capability", "allowed", "runs"),
    [
        ("12.8", object(), (9, 0), True, True),
        ("12.8", object(), (8, 0), True, True),
        ("12.8", object(), (7, 5), True, False),
        ("12.8", None, (9, 0), True, False),
        (None, object(), (9, 0), True, False),
        ("12.8", object(), (9, 0), False, False),
    ],
)
def test_programs_run_on_recent_nvidia_gpus_with_triton(
    cuda: str | None,
    triton: object,
    capability: tuple[int, int],
    allowed: bool,
    runs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial._serves.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(trial, "find_spec", lambda name: triton)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with trial.programs(allowed):
        assert trial.may_run(_OnGpu()) == runs  # type: ignore[arg-type]
    assert not trial.may_run(torch.ones(1))
    trial._serves.cache_clear()
