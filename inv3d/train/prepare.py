"""From what a user asks for to a training that can take its first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from inv3d.core.config import PluginConfig, build_config, build_suited, merge, preset_options
from inv3d.core.errors import ConfigError, InputError, PluginError, RunError, suggest
from inv3d.core.fit.context import Context
from inv3d.core.framing import check_framing
from inv3d.core.generator import Generator, load_generator
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.record import TRAINED_KINDS
from inv3d.core.training import Trainable
from inv3d.core.training_options import TrainingConfig
from inv3d.core.weights.known import resolve_path
from inv3d.io.dataset import open_capture
from inv3d.rundir.record import generator_part, provenance
from inv3d.train.latents import LATENTS, read_known_latents
from inv3d.train.sources import GENERATED, Generated, Pictures, Source
from inv3d.train.team import Team
from inv3d.train.trainer import Trainer

OF_TRAINING, OF_GENERATOR = "training", "generator"


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks for; the options of `3dinv train`.

    Attributes:
        plugin: name of a method or estimator.
        options: of the plugin, those of the training in a table "training", those of the generator
            in a table "generator".
        data: paths, or "generated", each with "=WEIGHT" behind it or not.
        preset: of the plugin's options, of its training's, or of both.
    """

    plugin: str
    generator: str
    data: tuple[str, ...] = (GENERATED,)
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    generator_preset: str | None = None
    weights: Path | None = None
    seed: int = 1
    device: str = "auto"
    checkpoint_every: int = 500
    evaluate_every: int = 1000

    def plain(self) -> dict[str, Any]:
        """Return plain values, for the record."""
        weights = None if self.weights is None else str(self.weights)
        return asdict(self) | {"data": list(self.data), "weights": weights}

    def settled(self) -> TrainRequest:
        """Return the same with whole paths, so that it goes on from any working directory."""
        whole = self.weights is not None and self.weights.exists()
        weights = self.weights.absolute() if whole and self.weights else self.weights
        return replace(self, data=tuple(map(_settled, self.data)), weights=weights)

    @staticmethod
    def read(values: Mapping[str, Any], where: Path) -> TrainRequest:
        """Read what `plain` returned.

        Raises:
            RunError: where it's something else.
        """
        try:
            return TypeAdapter(TrainRequest).validate_python(values)
        except ValidationError as error:
            field = error.errors()[0]["loc"][0]
            raise RunError(
                f"{where}: isn't the record of a training ('{field}' of its request); start it "
                "again with --overwrite"
            ) from None


@dataclass
class PreparedTraining:
    """A training that is ready to start, or to go on.

    Attributes:
        request: what was asked for.
        trainer: networks and optimisers.
        sources: of pictures.
        config: options of the plugin.
        facts: of plugin and generator, for the record.
        begun_from: files and directories that the options name, and which option does.
        notices: what the user should know.
    """

    request: TrainRequest
    trainer: Trainer
    sources: list[Source]
    config: PluginConfig
    facts: dict[str, Any]
    begun_from: Mapping[Path, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def prepare_training(
    request: TrainRequest, team: Team, device: torch.device, *, begun: bool = False
) -> PreparedTraining:
    """Check everything that a user asked for and load it; nothing is written.

    Args:
        request: what was asked for.
        team: of processes.
        device: of this one.
        begun: whether a checkpoint will be restored.

    Raises:
        InvError: of the kind that fits what's wrong.
    """
    kind, plugin = find_trainable(request.plugin)
    maker: type[Generator] = registry().load("generators", request.generator)
    config, training, given = _configs(request, kind, plugin, maker)
    owner = f"generator {request.generator}"
    weights = resolve_path(request.weights, maker.weights, owner)
    generator = load_generator(request.generator, given, weights, device=device)
    built = plugin.create(config)  # type: ignore[attr-defined]
    context = Context.create(device, request.seed)
    generator.rng = context.state.generators["render"]
    sources = _sources(request, built, generator, training)
    trainer = Trainer(built, generator, training, context, team, request.seed, begun)
    facts = {
        "plugin": {
            "name": request.plugin,
            "kind": kind,
            "options": config.model_dump(mode="json"),
            **provenance(kind, request.plugin, plugin),
        },
        "training": training.model_dump(mode="json"),
        "generator": generator_part(request.generator, generator, given, weights).model_dump(
            mode="json"
        ),
        "data": {s.name: s.files.digest() for s in sources if isinstance(s, Pictures)},
        "processes": team.size,
    }
    read = {**config.model_dump(), OF_TRAINING: training.model_dump()}
    read[OF_GENERATOR] = given.model_dump()
    request = replace(request, options=_with_whole_paths(request.options, read))
    asked = request.options.get(OF_TRAINING, {})
    notices = [*_unused(sources, asked), *_notices(sources, generator)] if team.leads else []
    begun_from = paths_of(read) | ({weights: "what --weights names"} if weights else {})
    return PreparedTraining(request, trainer, sources, config, facts, begun_from, notices)


def paths_of(values: Mapping[str, Any], where: str = "--set ") -> dict[Path, str]:
    """Return the paths among options, those of groups of options too, and what names them."""
    found: dict[Path, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= paths_of(value, f"{where}{name}.")
        elif isinstance(value, Path):
            found[value] = f"what {where}{name} names"
    return found


def _with_whole_paths(given: Mapping[str, Any], read: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they were given, but paths as they were read: whole, and as text."""
    whole = dict(given)
    for name, value in given.items():
        found = read.get(name)
        if isinstance(value, Mapping) and isinstance(found, Mapping):
            whole[name] = _with_whole_paths(value, found)
        elif isinstance(found, Path):
            whole[name] = str(found)
    return whole


def _unused(sources: Sequence[Source], asked: Mapping[str, Any]) -> Iterator[str]:
    """Say which options that a user gives are of a kind of pictures that there isn't."""
    for kind, name, options in (
        (Generated, "generated pictures", ("pool", "truncation")),
        (Pictures, "pictures from files", ("mirror", "rebalance")),
    ):
        if not any(isinstance(source, kind) for source in sources):
            for option in filter(asked.__contains__, options):
                yield f"--set training.{option}: counts for {name} alone, and --data has none"


def _notices(sources: Sequence[Source], generator: Generator) -> list[str]:
    """Return what the user should know of pictures; those that are held out are read for it."""
    notices: list[str] = []
    for source in sources:
        if not isinstance(source, Pictures):
            continue
        source.held_out()
        files = source.files
        notices += files.notices.values()
        if files.posed:
            where = f"--data {files.source}"
            notices += check_framing(files.camera, generator.spec, files.names, where)
    return notices


def find_trainable(name: str) -> tuple[str, type[Trainable[Any]]]:
    """Return kind and class of a plugin that can be trained.

    Raises:
        PluginError: where there's none of that name, or it isn't trained.
    """
    kinds = [k for k in TRAINED_KINDS if any(r.name == name for r in registry().of_kind(k))]
    if not kinds:
        raise PluginError(
            f"nothing that's trained is called '{name}'{suggest(name, trainable_names())}"
        )
    kind = kinds[0]
    plugin = registry().load(kind, name)
    if issubclass(plugin, Trainable):
        return kind, plugin
    known = ", ".join(trainable_names()) or "none is installed"
    raise PluginError(f"{kind[:-1]} {name}: has no networks to train; those that have: {known}")


def trainable_names() -> list[str]:
    """Return the names of the plugins that can be trained."""
    names = []
    for kind in TRAINED_KINDS:
        for record in registry().of_kind(kind):
            try:
                plugin = registry().load(kind, record.name)
            except PluginError:
                continue
            names += [record.name] if issubclass(plugin, Trainable) else []
    return names


def _configs(
    request: TrainRequest, kind: str, plugin: type[Trainable[Any]], maker: type[Generator]
) -> tuple[PluginConfig, TrainingConfig, PluginConfig]:
    """The options of plugin, training and generator: what suits it, the preset, the user's."""
    name, owner = request.plugin, f"generator {request.generator}"
    options = merge(_preset(plugin, request.preset), request.options)
    of_training, of_generator = options.pop(OF_TRAINING, {}), options.pop(OF_GENERATOR, {})
    suited, source = maker.method_options.get(name, {}), f"{owner}: its method_options"
    config = build_suited(plugin.Config, suited, options, f"{kind[:-1]} {name}", source)
    suited, source = maker.training_options.get(name, {}), f"{owner}: its training_options"
    training = build_suited(plugin.Training, suited, of_training, f"training of {name}", source)
    chosen = preset_options(maker, request.generator_preset, owner)
    return config, training, build_config(maker.Config, merge(chosen, of_generator), owner)


def _preset(plugin: type[Trainable[Any]], name: str | None) -> dict[str, Any]:
    """Return what a preset says of plugin and training; it may be of either or of both.

    Raises:
        ConfigError: where there's none of that name.
    """
    known = {"default": {}, **plugin.presets, **plugin.training_presets}
    if name is not None and name not in known:
        raise ConfigError(f"{plugin.name} has no preset '{name}'{suggest(name, known)}")
    options = dict(plugin.presets.get(name or "default", {}))
    return options | {OF_TRAINING: dict(plugin.training_presets.get(name or "default", {}))}


def _sources(
    request: TrainRequest,
    plugin: Trainable[Any],
    generator: Generator,
    training: TrainingConfig,
) -> list[Source]:
    sources: list[Source] = []
    named: set[str] = set()
    for given in request.data:
        name, weight = split_weight(given)
        if name in named:
            raise ConfigError(
                f"--data {name}: given twice; give it once, and say how often its pictures are "
                f"taken by a weight (--data {name}=2)"
            )
        named.add(name)
        if name == GENERATED:
            sources.append(
                Generated(
                    generator,
                    lambda count, rng: plugin.cameras(generator.spec, training, count, rng),
                    request.seed,
                    weight,
                    training.pool,
                    training.hold_out,
                    training.truncation,
                )
            )
        else:
            sources.append(_pictures(name, weight, plugin, generator, training))
    short = [Path(source.name).name for source in sources]
    if len(set(short)) == len(short):
        for source, name in zip(sources, short, strict=True):
            source.name = name
    return sources


def _pictures(
    name: str,
    weight: float,
    plugin: Trainable[Any],
    generator: Generator,
    training: TrainingConfig,
) -> Pictures:
    try:
        files = open_capture(name)
    except InputError as error:
        text = str(error).replace(
            "leave --input out for the sample capture", f"or give --data {GENERATED}"
        )
        raise InputError(text.replace("--input ", "--data ", 1)) from None
    ws = read_known_latents(files, generator)
    if "latents" in plugin.learns_from and ws is None:
        raise InputError(
            f"--data {name}: {plugin.name} learns from true latents, which pictures that the "
            f"generator makes have, and those with a {LATENTS}; give --data {GENERATED}, or none"
        )
    if "cameras" in plugin.learns_from and not files.posed:
        raise InputError(
            f"--data {name}: its pictures have no labels; add a dataset.json with 25 numbers a "
            f"picture (cam2world and intrinsics), or train with --data {GENERATED}"
        )
    return Pictures(
        files,
        generator.spec.resolution,
        weight=weight,
        count=training.hold_out,
        mirror=training.mirror,
        rebalance=training.rebalance,
        least=training.batch,
        ws=ws,
    )


def _settled(given: str) -> str:
    """Return "PATH=WEIGHT" with the whole path, where there is such a path."""
    name, _ = split_weight(given)
    place = Path(name)
    return f"{place.absolute()}{given[len(name) :]}" if place.exists() else given


def split_weight(given: str) -> tuple[str, float]:
    """Return path and weight of "PATH=WEIGHT"; a path that has "=" in its name keeps it.

    Raises:
        InputError: where there's no path, or the weight isn't above 0.
    """
    name, sign, text = given.rpartition("=")
    if not sign or Path(given).exists():
        name, text = given, "1"
    try:
        weight = float(text)
    except ValueError:
        name, weight = given, 1.0
    if not name:
        raise InputError(f"--data {given!r}: names no pictures; give PATH, or PATH=WEIGHT")
    if not 0 < weight < float("inf"):
        raise InputError(f"--data {given}: a weight of {text}, expected a number above 0")
    return name, weight
