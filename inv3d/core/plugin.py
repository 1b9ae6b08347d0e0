"""What every plugin says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from inv3d.core.config import PluginConfig
from inv3d.core.weights.known import WeightFile

API_VERSION = "1.0"
Presets = Mapping[str, Mapping[str, Any]]


class Plugin:
    """What every plugin says of itself, as class attributes.

    Attributes:
        name: as in its entry point.
        summary: one line for `list-plugins`.
        api: version of the plugin API that it was written for, "major.minor", or a range of those
            that it works with, such as ">=1.0,<3".
        licence: of the code and, where there are any, of the weights; nobody else's is assumed.
        reference: paper and equation.
        requires: extra packages that it imports.
        Config: its options.
        presets: named sets of options; "default" is the empty set.
        weights: files that it can use and that aren't part of its package.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    api: ClassVar[str] = API_VERSION
    licence: ClassVar[str] = "not stated"
    reference: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    Config: ClassVar[type[PluginConfig]] = PluginConfig
    presets: ClassVar[Presets] = {}
    weights: ClassVar[tuple[WeightFile, ...]] = ()
