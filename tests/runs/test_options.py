"""Mistakes in options are answered before torch is imported, in the user's own words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inv3d.core.errors import ConfigError, PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import PluginRecord
from inv3d.core.registry.source import options_of
from inv3d.runs.options import check_options

CHECKED = [r for r in registry().records if r.own and r.kind in ("generators", "methods", "losses")]

WRONG = {
    "a loss's option": (
        {"losses": {"l1": {"weigth": 2}}},
        "unknown option 'weigth' of loss l1; did you mean 'weight'?",
    ),
    "a loss's value": (
        {"losses": {"l1": {"resolution": "big"}}},
        "option 'resolution' of loss l1: 'big' is not valid: input should be a valid integer",
    ),
    "a loss of a stage": (
        {"latent": {"losses": {"mse": {"beta": 1}}}},
        "unknown option 'beta' of loss mse; known: loss, mask, of, resolution, weight, where",
    ),
    "what a loss looks at": (
        {"losses": {"l1": {"of": "rw"}}},
        "option 'losses.l1.of' of method wplus: 'rw' is not valid: input should be 'image' or "
        "'raw'",
    ),
    "an option": (
        {"latent": {"stps": 1}},
        "unknown option 'latent.stps' of method wplus; did you mean 'steps'?",
    ),
    "a value": (
        {"latent": {"keep": True}},
        "option 'latent.keep' of method wplus: true is not valid: input should be 'last' or 'best'",
    ),
    "a table": (
        {"latent": 3},
        "option 'latent' of method wplus: 3 is not valid: input should be a table of options, each "
        "given as NAME.OPTION=VALUE",
    ),
    "no table": (
        {"latent": {"steps": {"a": 1}}},
        "option 'latent.steps' of method wplus: a table (a) is not valid: input should be a valid "
        "integer",
    ),
    "a generator's option": (
        {"generator": {"smples": 3}},
        "unknown option 'smples' of generator minihead; did you mean 'samples'?",
    ),
    "a generator that is no table": (
        {"generator": 3},
        "option 'generator': give its options as generator.NAME=VALUE",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_told_in_the_users_words(case: str) -> None:
    options, said = WRONG[case]
    with pytest.raises(ConfigError) as error:
        check_options("wplus", "minihead", options)
    assert str(error.value).startswith(said)


def test_an_unknown_loss() -> None:
    with pytest.raises(PluginError, match="unknown loss 'mes'; did you mean 'mse'"):
        check_options("wplus", "minihead", {"losses": {"mes": 1}})
    check_options("wplus", "minihead", {"losses": {"mes": 0, "raw": {"loss": "mse"}}})


def test_what_presets_may_put_right_is_left_to_the_plugin() -> None:
    # limits that must both be auto or both be numbers
    check_options("wplus", "eg3d", {"generator": {"rendering": {"ray_start": "auto"}}})
    with pytest.raises(ConfigError) as error:
        check_options("wplus", "eg3d", {"generator": {"rendering": {"ray_start": "far"}}})
    assert str(error.value) == (
        "option 'rendering.ray_start' of generator eg3d: 'far' is not valid: input should be a "
        "valid number, unable to parse string as a number, or input should be 'auto'"
    )


@pytest.mark.parametrize("record", CHECKED, ids=lambda r: f"{r.kind}-{r.name}")
def test_the_options_are_those_of_the_plugin(record: PluginRecord) -> None:
    plugin = registry().load(record.kind, record.name)
    found = options_of(record)
    assert found is plugin.Config


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "losses.l1.weigth=2"],
        ["--set", "latent.steps=x"],
        ["--set", "generator.samples=9999"],
        ["--set", "losses.nothing=1"],
        ["--method", "multilatnt"],
        ["--method", "wplus", "--set", "oops=1"],
    ],
)
def test_torch_isnt_imported_for_that(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from inv3d.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
