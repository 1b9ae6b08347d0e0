"""Which network each size is, and what can't be one."""

from __future__ import annotations

from typing import Any

import pytest

from inv3d.bench import cases
from inv3d.bench.cases import Choice, make_case
from inv3d.core.errors import ConfigError, InvError, PluginError, UnsupportedError
from inv3d.core.registry.discovery import registry
from inv3d.nn.eg3d.architecture import Architecture


def test_mini_is_the_embedded_generator_with_its_losses() -> None:
    case = make_case(Choice("mini", rays=16, options={"samples": 8}))
    spec = case.generator.spec
    assert spec.name == "minihead" and spec.render_resolution == 16
    assert case.generator.march.fine == 8
    assert case.losses == spec.default_losses and case.chunk is None
    assert "minihead; 16 x 16 rays" in case.note


def test_losses_and_chunk_are_the_users() -> None:
    case = make_case(Choice("mini", losses=("mse",), chunk=2))
    assert (case.losses, case.chunk) == ({"mse": 1.0}, 2)


@pytest.mark.parametrize("size", ["full", "half"])
def test_the_others_are_eg3d_with_random_weights(
    size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []

    def build(name: str, options: Any) -> Any:
        built.append((name, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(cases, "build_generator", build)
    with pytest.raises(KeyboardInterrupt):
        make_case(Choice(size))
    ((name, options),) = built
    assert name == "eg3d" and options["random_weights"] is True
    kind = registry().load("generators", "eg3d")
    config = kind.Config(**options)
    of_architecture = config.model_dump(include=set(Architecture.model_fields))
    architecture = Architecture.model_validate(of_architecture)
    assert architecture.neural_rendering_resolution == 32
    factor = 1 if size == "full" else 2
    assert architecture.img_resolution == 512 // factor
    assert architecture.plane_resolution == 256 // factor
    assert architecture.channel_base == 32768 // factor


class Other:
    rays_option = ""
    Config = registry().load("generators", "minihead").Config

    @classmethod
    def create(cls, config: Any) -> object:
        return object()


@pytest.mark.parametrize(
    ("choice", "kind", "said"),
    [
        (Choice("full", "panohead"), ConfigError, "--generator panohead: sizes full and"),
        (Choice("mini", "minihaed"), PluginError, "did you mean 'minihead'"),
        (Choice("mini", options={"precison": "fp32"}), ConfigError, "did you mean 'precision'"),
        (Choice("mini", losses=("mse", "l11")), PluginError, "did you mean 'l1'"),
        (Choice("mini", "panohead"), ConfigError, "add --set random_weights=true"),
        (Choice("mini", rays=8), ConfigError, "render_resolution"),
        (Choice("mini", losses=("mse",), options={"samples": 1}), ConfigError, "samples"),
    ],
)
def test_mistakes(choice: Choice, kind: type[InvError], said: str) -> None:
    with pytest.raises(kind, match=said):
        make_case(choice)


def test_other_generators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(registry()), "load", lambda *_: Other)
    with pytest.raises(UnsupportedError, match="tri-planes and tri-grids only"):
        make_case(Choice("mini", "other"))
    with pytest.raises(ConfigError, match="--rays: generator other has no such option"):
        make_case(Choice("mini", "other", rays=8))
