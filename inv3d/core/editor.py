"""The contract of an editor: directions fitted to a generator, applied to inversions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Iteration
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig, build_config
from inv3d.core.errors import ConfigError, InputError, UnsupportedError, WeightsError, suggest
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry
from inv3d.core.weights.known import weights_dir
from inv3d.core.weights.tensors import asset, check_finite, read_tensors, write_tensors

KIND = "directions"
# the entry of Directions.facts that gives edits names
NAMES = "names"
STRENGTH = "strength"
FOLDER = "directions"
C = TypeVar("C", bound=PluginConfig)
E = TypeVar("E", bound=PluginConfig)


@dataclass(frozen=True)
class Directions:
    """What an editor found out about a generator, in a file of its own.

    Attributes:
        editor: name of the plugin that made it.
        generator: name of the generator plugin.
        fingerprint: of the generator.
        tensors: name -> tensor, such as the mean and the components of W.
        facts: plain values. "names" among them maps the name of an edit, such as "smile", to the
            options of the edit whose strength is 1.
    """

    editor: str
    generator: str
    fingerprint: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator than the one that the directions were found in.

        Raises:
            WeightsError: where architecture or weights differ.
        """
        if generator.spec.fingerprint != self.fingerprint:
            raise WeightsError(
                f"directions of {self.editor}: for generator {self.generator}, {self.fingerprint}, "
                f"but this one is {generator.spec.name}, {generator.spec.fingerprint}; fit them to "
                "it"
            )

    @property
    def names(self) -> dict[str, dict[str, Any]]:
        """Named edits: name -> options of the edit of strength 1."""
        named = self.facts.get(NAMES, {})
        whole = isinstance(named, dict) and all(isinstance(o, dict) for o in named.values())
        return dict(named) if whole else {}

    def tensor(self, name: str) -> Tensor:
        """Return a tensor that the editor that made the file puts into it.

        Raises:
            WeightsError: where it's missing.
        """
        if name not in self.tensors:
            raise WeightsError(
                f"directions of {self.editor}: have no '{name}'; the file was changed, fit them "
                "again"
            )
        return self.tensors[name]

    def save(self, path: Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        metadata = {
            "kind": KIND,
            "editor": self.editor,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "facts": dict(self.facts),
        }
        write_tensors(path, self.tensors, metadata)

    @staticmethod
    def load(path: Path) -> Directions:
        """Read a file.

        Raises:
            WeightsError: where it's missing, damaged, or holds anything else.
        """
        tensors, metadata = read_tensors(path)
        names = ("editor", "generator", "fingerprint", "facts")
        kinds = {name: dict if name == "facts" else str for name in names}
        whole = all(isinstance(metadata.get(name), kind) for name, kind in kinds.items())
        if metadata.get("kind") != KIND or not whole:
            raise WeightsError(
                f"{path}: holds no directions of an editor; give a file that an editor was fitted "
                "into"
            )
        check_finite(tensors, path)
        editor, generator, fingerprint, facts = (metadata[name] for name in names)
        return Directions(editor, generator, fingerprint, tensors, facts)


@dataclass(frozen=True)
class Subject:
    """What is edited.

    Attributes:
        generator: tuned for the inversion.
        inversion: of any method.
        capture: the frames that were inverted, with the cameras that the method found; None where
            they can't be had.
        partners: other runs of the same generator that take part, each with a generator of its own.
    """

    generator: Generator
    inversion: Inversion
    capture: Capture | None = None
    partners: tuple[Subject, ...] = ()


class Editor(Plugin, ABC, Generic[C, E]):
    """Directions in latent or scene space, fitted to a generator and applied to inversions.

    `Editor[MyConfig, MyEdit]` says the types of its options and of an edit.

    Attributes:
        Edit: options of one edit, such as a component and a strength; each field with a
            description. The field `strength`, where there is one, is what named edits, sheets and
            videos of rising strength change.
        needs_directions: whether `apply` needs what `fit` finds.
        partners: least and most number of other runs that an edit takes.
        needs_capture: whether `apply` needs the frames that were inverted.
        quick: whether an edit takes no more than a moment, so that a run's report can show it at
            many strengths.
        strengths: that a sheet of it shows.
        hidden: names that no option of an edit can have, since 3dinv edit has them itself.
    """

    Edit: ClassVar[type[PluginConfig]] = PluginConfig
    needs_directions: ClassVar[bool] = True
    partners: ClassVar[tuple[int, int]] = (0, 0)
    needs_capture: ClassVar[bool] = False
    quick: ClassVar[bool] = True
    strengths: ClassVar[tuple[float, ...]] = (-3.0, -1.5, 0.0, 1.5, 3.0)
    hidden: ClassVar[tuple[str, ...]] = (
        *("editor", "out", "overwrite", "with", "directions", "keep_directions", "sheet", "rows"),
        *("strengths", "device", "json", "no_report", "help"),
    )
    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the editor with its options, and with networks where it has any, on the CPU."""
        return cls(config)

    @classmethod
    def shipped(cls, generator: Generator) -> Path | None:
        """Return the file of directions that the package brings for a generator, or None."""
        path = asset(f"{FOLDER}/{cls.name}-{generator.spec.name}.safetensors")
        return path if path.is_file() else None

    def __init__(self, config: C) -> None:
        self.config = config

    def fit(self, generator: Generator, context: Context) -> Iteration[Progress, None, Directions]:
        """Find directions, one item a step, and return them.

        Args:
            generator: untuned, frozen, on the context's device.
            context: device, seed, random numbers.

        Raises:
            UnsupportedError: where the editor needs none.
        """
        raise UnsupportedError(f"editor {self.name}: has nothing to fit; apply it as it is")
        yield

    def take(self, path: Path, generator: Generator, context: Context) -> Directions:
        """Read directions that another project wrote for this generator.

        Args:
            path: the file.
            generator: untuned, frozen; what the file lacks is measured on it.
            context: device, seed, random numbers.

        Raises:
            UnsupportedError: where the editor reads none.
            WeightsError: where the file is damaged or isn't for such a generator.
        """
        raise UnsupportedError(
            f"editor {self.name}: reads no directions of other projects; fit them with '3dinv "
            f"editor fit {self.name}'"
        )

    @abstractmethod
    def apply(
        self,
        subject: Subject,
        edit: E,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Return an edited inversion; the subject isn't changed.

        What the user should know is said by `warnings.warn`; it's kept with the edited run.

        Args:
            subject: tuned generator and inversion.
            edit: what is done.
            directions: of this editor for this generator, or None where it needs none.
            others: directions that must stay as they are (conditional edits).
        """

    def rows(
        self, directions: Directions | None, count: int
    ) -> Sequence[tuple[str, dict[str, Any]]]:
        """Return up to `count` edits that a sheet shows: title and options of strength 1.

        The named ones by default; an editor without names has one, that of its own defaults.
        """
        named = {} if directions is None else directions.names
        return list(named.items())[:count] or [(self.name, {})]

    def named(self, directions: Directions | None, name: str, strength: float) -> dict[str, Any]:
        """Return the options of a named edit of some strength.

        Raises:
            ConfigError: where there's no such name.
        """
        names = {} if directions is None else directions.names
        if name not in names:
            raise ConfigError(f"editor {self.name}: has no edit '{name}'{suggest(name, names)}")
        return scaled(names[name], strength)

    def edited(self, subject: Subject, edit: E, **changes: Any) -> Inversion:
        """Return the subject's inversion with changes, and with this edit in its history.

        Args:
            subject: that is edited.
            edit: what was done.
            changes: fields of the inversion, such as `ws` or `offset`.
        """
        inversion = subject.inversion
        options = edit.model_dump(mode="json")
        made = Made("editor", self.name, options=options, parent=inversion.digest())
        return replace(inversion, **changes, history=(*inversion.history, made))

    @torch.no_grad()
    def moved(self, subject: Subject, edit: E, move: Callable[[Tensor], Tensor]) -> Inversion:
        """Return the subject's inversion with its latents moved.

        An offset of the scene stays: T = G(w_edited) + offset (TriPlaneNet, eq. 16). With a partner
        the change of the scene is made at the partner's latents, as the paper does with those of an
        optimisation: the latents stay and G(w'_edited) - G(w') is added to the offset.

        Args:
            subject: that is edited.
            edit: what is done.
            move: latents [M, num_ws, w_dim] to edited ones.

        Raises:
            InputError: where the inversion has no latents.
        """
        inversion, generator = subject.inversion, subject.generator
        if not inversion.ws.numel():
            raise InputError(
                f"editor {self.name}: the inversion has no latents to move; take a run of a method "
                "that finds some"
            )
        if not subject.partners:
            return self.edited(subject, edit, ws=move(inversion.ws))
        at = subject.partners[0].inversion.ws_for(inversion.cameras, inversion.frames)
        ends = (
            generator.synthesize(w.to(generator.device, generator.dtype)) for w in (move(at), at)
        )
        after, before = ends
        change = {name: part.float().cpu() for name, part in (after - before).parts.items()}
        known = inversion.offset
        offset = {
            name: part + known[name] if name in known else part for name, part in change.items()
        }
        return self.edited(subject, edit, offset=offset)


AnyEditor = Editor[Any, Any]


def scaled(options: Mapping[str, Any], strength: float) -> dict[str, Any]:
    """Return the options of an edit of strength 1 (or of their own) times a factor."""
    return {**options, STRENGTH: options.get(STRENGTH, 1.0) * strength}


def load_editor(name: str, options: Mapping[str, Any] | None = None) -> AnyEditor:
    """Build an editor by name.

    Args:
        name: of the plugin.
        options: nested plain values, those of its fit.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is unknown or out of range.
    """
    kind: type[AnyEditor] = registry().load("editors", name)
    return kind.create(build_config(kind.Config, options or {}, f"editor {name}"))


def directions_path(editor: str, generator: Generator) -> Path:
    """Return where the directions go that are fitted to a generator, among the weight files."""
    spec = generator.spec
    return weights_dir() / FOLDER / f"{editor}-{spec.name}-{spec.fingerprint}.safetensors"


def find_directions(
    editor: AnyEditor, generator: Generator, path: Path | None = None
) -> Directions | None:
    """Return directions for a generator: of a file, else those fitted here, else shipped ones.

    Args:
        editor: whose directions.
        generator: that they must be for.
        path: a file, or None.

    Returns:
        The directions; None where there are none and the editor needs none.

    Raises:
        WeightsError: where the file is damaged, of another editor or for another generator, or
            there are none and the editor needs them.
    """
    if path is not None:
        found = Directions.load(path)
        if found.editor != editor.name:
            raise WeightsError(
                f"{path}: directions of editor {found.editor}, expected those of {editor.name}; "
                "give a file that was fitted for it"
            )
        found.check_generator(generator)
        return found
    if not editor.needs_directions:
        return None
    fitted = directions_path(editor.name, generator)
    if fitted.is_file():
        found = Directions.load(fitted)
        found.check_generator(generator)
        return found
    shipped = editor.shipped(generator)
    kept = None if shipped is None else Directions.load(shipped)
    if kept is not None and kept.fingerprint == generator.spec.fingerprint:
        return kept
    other = "" if kept is None else f" (those that are shipped are for {kept.fingerprint})"
    raise WeightsError(
        f"editor {editor.name}: no directions for generator {generator.spec.name}, "
        f"{generator.spec.fingerprint}{other}; find some with '3dinv editor fit {editor.name} "
        f"--generator {type(generator).name}', or give a file with --directions"
    )


def check_partners(editor: AnyEditor, subject: Subject) -> None:
    """See that the other runs of an edit are as many as it takes, and of the same generator.

    Raises:
        ConfigError: where there are more or fewer.
        InputError: where one is of another generator.
    """
    least, most = editor.partners
    count = len(subject.partners)
    if not least <= count <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise ConfigError(
            f"editor {editor.name}: {count} other runs, expected {expected}; give each with "
            "--with RUN"
        )
    own = subject.inversion
    for partner in subject.partners:
        theirs = partner.inversion
        if theirs.fingerprint != own.fingerprint:
            raise InputError(
                f"editor {editor.name}: the other run is of generator {theirs.generator}, "
                f"{theirs.fingerprint}, but this one is of {own.generator}, {own.fingerprint}; "
                "take two runs of the same generator"
            )
