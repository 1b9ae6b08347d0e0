"""Cameras with names, as any of the formats has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inv3d.core.camera import Camera
from inv3d.core.errors import InputError
from inv3d.io.labels import Labels, cameras, numbers
from inv3d.io.pinhole import Pinhole


@dataclass(frozen=True)
class CameraSet:
    """Cameras by name, before they're checked.

    Attributes:
        where: the file or folder that they're from, for messages.
        labels: name -> what should be the 25 numbers of an EG3D label; or why it can't be.
        pinholes: name -> camera of the whole picture, where the format knows it.
        partial: whether pictures without a camera are usual, as a reconstruction leaves them.
        notices: sort -> what the user should know.
        nameless: where a camera stands that says no picture's name; "" where all do.
    """

    where: str
    labels: Mapping[str, Any]
    pinholes: Mapping[str, Pinhole] = field(default_factory=dict)
    partial: bool = False
    notices: dict[str, str] = field(default_factory=dict)
    nameless: str = ""

    def read(self, names: Iterable[str]) -> Labels:
        """Return the numbers of labels by name.

        Raises:
            InputError: naming the one that isn't 25 finite numbers.
        """
        return {name: self._numbers(name) for name in names}

    def _numbers(self, name: str) -> list[float]:
        label = self.labels[name]
        if isinstance(label, InputError):
            raise label
        return numbers(label, f"{self.where}: label of {name}")

    def camera(self, labels: Labels) -> Camera:
        """Return the cameras of labels that were read, checked.

        Raises:
            InputError: naming the one that can't be used.
        """
        camera, notices = cameras(labels, self.where)
        self.notices.update(notices)
        return camera
