"""Cameras with names, as any of the formats has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inv3d.core.camera import Camera
from inv3d.io.labels import cameras, numbers
from inv3d.io.pinhole import Pinhole


@dataclass(frozen=True)
class CameraSet:
    """Cameras by name, before they're checked.

    Attributes:
        where: the file or folder that they're from, for messages.
        labels: name -> what should be the 25 numbers of an EG3D label.
        pinholes: name -> camera of the whole picture, where the format knows it.
        partial: whether pictures without a camera are usual, as a reconstruction leaves them.
        notices: sort -> what the user should know.
    """

    where: str
    labels: Mapping[str, Any]
    pinholes: Mapping[str, Pinhole] = field(default_factory=dict)
    partial: bool = False
    notices: dict[str, str] = field(default_factory=dict)

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of a label.

        Raises:
            InputError: where they aren't 25 finite numbers.
        """
        return numbers(self.labels[name], f"{self.where}: label of {name}")

    def camera(self, names: Iterable[str]) -> Camera:
        """Return cameras by name, checked.

        Raises:
            InputError: naming the one that can't be used.
        """
        return cameras({name: self.numbers(name) for name in names}, self.where)
