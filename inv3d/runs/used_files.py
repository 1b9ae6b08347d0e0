"""The files that a method and its losses read, such as weights: what else a result depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from inv3d.core.config import LOSSES, PluginConfig, merge
from inv3d.core.errors import RunError
from inv3d.core.files import file_digest
from inv3d.core.fit.terms import LossTerm
from inv3d.core.loss import WEIGHTS, AnyLoss, loss_config
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry
from inv3d.core.trained import FILE as TRAINED
from inv3d.core.warm import kept, version_of

_DEFAULTS = "default_losses"
# what to do about what isn't as it was when a run began
AFRESH = "start the run again with --overwrite"
AGAIN = f"put them back, or {AFRESH}"


def used_files(
    method: type[Plugin], config: PluginConfig, default_losses: Mapping[str, float]
) -> dict[str, str]:
    """Return path -> SHA-256 of the files that options name, and of known ones where none do.

    Known ones are all that a plugin names and that are here, though it may need only one of them.

    Args:
        method: class of the method.
        config: its resolved options.
        default_losses: the generator's, name -> weight.

    Raises:
        PluginError: where a loss is unknown.
        ConfigError: where an option of a loss is.
        WeightsError: where a loss names a known weight file that isn't there.
    """
    paths = [path.absolute() for path in _of_plugin(method, config, default_losses)]
    return {str(path): _digest(path) for path in sorted(set(paths))}


def _digest(path: Path) -> str:
    return kept(("digest", version_of(path)), lambda: file_digest(path))


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """See that every file that a run began with is still in use, wherever it lies.

    Args:
        before: path -> SHA-256, as `used_files` returned it when the run began.
        now: the same of today.

    Raises:
        RunError: naming the first one that isn't.
    """
    contents = set(now.values())
    for path, digest in before.items():
        if digest not in contents:
            raise changed(Path(path))


def changed(path: Path) -> RunError:
    """Return the error to raise where a file isn't what a run began with."""
    return RunError(
        f"{path}: isn't what the run began with; put it back, or start again with --overwrite"
    )


def _of_plugin(
    kind: type[Plugin], config: PluginConfig, default_losses: Mapping[str, float]
) -> Iterator[Path]:
    yield from _of_options(config.model_dump(), default_losses)
    if getattr(config, WEIGHTS, None) is None:
        yield from filter(None, (file.find() for file in kind.weights))


def _of_options(options: Mapping[str, Any], default_losses: Mapping[str, float]) -> Iterator[Path]:
    """Files that nested options name, and those of all losses among them."""
    if options.get(_DEFAULTS):
        options = merge({LOSSES: default_losses}, options)
    for name, value in options.items():
        if name == LOSSES and isinstance(value, Mapping):
            yield from _of_losses(value)
        elif isinstance(value, Mapping):
            yield from _of_options(value, default_losses)
        # options that are handed on to another method are plain texts
        elif isinstance(value, Path) or (name == WEIGHTS and isinstance(value, str)):
            # of a directory of a training, the networks are what is read
            found = Path(value) / TRAINED if Path(value).is_dir() else Path(value)
            if found.is_file():
                yield found


def _of_losses(losses: Mapping[str, Any]) -> Iterator[Path]:
    for name, term in losses.items():
        one = LossTerm.model_validate(term if isinstance(term, Mapping) else {"weight": term})
        if one.weight == 0:
            continue
        kind: type[AnyLoss] = registry().load("losses", one.loss or name)
        config = loss_config(kind, one.options, f"loss {name}", LossTerm.model_fields)
        yield from _of_plugin(kind, config, {})
