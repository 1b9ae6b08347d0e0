"""Another network behind the same latents: a generator that was fine-tuned to a style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.errors import ConfigError, WeightsError
from inv3d.core.generator import load_generator
from inv3d.core.inversion import Inversion
from inv3d.core.weights.tensors import check_state


class OtherGeneratorEdit(PluginConfig):
    """One edit."""

    network: Path = Field(
        description="weight file of the same architecture, as --weights takes it, such as one that "
        "was fine-tuned to a style"
    )
    strength: float = Field(
        1.0, allow_inf_nan=False, description="0 is the run's network, 1 the other one"
    )
    parts: tuple[str, ...] = Field(
        (),
        description="beginnings of the parameter names that change, such as decoder; all if none",
    )
    tuning: bool = Field(
        True,
        description="also keep what the run tuned, otherwise it fades as the strength rises to 1",
    )


class OtherGenerator(Editor[PluginConfig, OtherGeneratorEdit]):
    """The run's latents in another network of the same architecture."""

    name = "generator"
    summary = "the latents of a run in a fine-tuned network, such as a stylised one"
    licence = "Apache-2.0"
    Edit = OtherGeneratorEdit
    needs_directions: ClassVar[bool] = False
    quick: ClassVar[bool] = False

    def apply(
        self,
        subject: Subject,
        edit: OtherGeneratorEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Add the difference of the networks to what the run tuned."""
        generator, tuned = subject.generator, subject.inversion.generator_delta
        other = load_generator(type(generator).name, generator.config, edit.network)
        state, theirs = generator.state_dict(), other.state_dict()
        check_state(state, theirs, edit.network)
        names = _chosen(state, edit.parts)
        if not edit.strength:
            return self.edited(subject, edit)
        kept = 1.0 if edit.tuning else 1 - edit.strength
        delta: dict[str, Tensor] = {name: kept * part for name, part in tuned.items() if kept}
        for name in names:
            original = state[name].float().cpu()
            if name in tuned:
                original = original - tuned[name]
            change = edit.strength * (theirs[name].float().cpu() - original)
            if bool(change.any()):
                delta[name] = change + delta[name] if name in delta else change
        if not delta and not tuned:
            raise WeightsError(
                f"{edit.network}: is the network of the run itself, so that nothing would change; "
                "give one that was fine-tuned"
            )
        return self.edited(subject, edit, generator_delta=delta)


def _chosen(state: Mapping[str, Tensor], parts: Sequence[str]) -> list[str]:
    """Return the names of floating-point tensors that begin with one of `parts`."""
    names = [name for name, value in state.items() if value.is_floating_point()]
    for part in parts:
        if not any(name.startswith(part) for name in names):
            first = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise ConfigError(
                f"option 'parts' of editor generator: no parameter begins with '{part}'; they "
                f"begin with {first}"
            )
    return [name for name in names if not parts or name.startswith(tuple(parts))]
