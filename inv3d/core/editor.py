"""The contract of an editor: directions fitted to a generator, applied to inversions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator as Iteration
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.errors import UnsupportedError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Made
from inv3d.core.plugin import Plugin
from inv3d.core.weights.tensors import check_finite, read_tensors, write_tensors

KIND = "directions"
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
        facts: plain values, such as the names of components.
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
    """

    generator: Generator
    inversion: Inversion


class Editor(Plugin, ABC, Generic[C, E]):
    """Directions in latent or scene space, fitted to a generator and applied to inversions.

    `Editor[MyConfig, MyEdit]` says the types of its options and of an edit.

    Attributes:
        Edit: options of one edit, such as a component and a strength; each field with a
            description.
        needs_directions: whether `apply` needs what `fit` finds.
    """

    Edit: ClassVar[type[PluginConfig]] = PluginConfig
    needs_directions: ClassVar[bool] = True
    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the editor with its options, and with networks where it has any, on the CPU."""
        return cls(config)

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

    @abstractmethod
    def apply(
        self,
        subject: Subject,
        edit: E,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Return an edited inversion; the subject isn't changed.

        Args:
            subject: tuned generator and inversion.
            edit: what is done.
            directions: of this editor for this generator, or None where it needs none.
            others: directions that must stay as they are (conditional edits).
        """

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
