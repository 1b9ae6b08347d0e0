"""Which plugin of others reads a network, told by the names of its tensors."""

from __future__ import annotations

from collections.abc import Collection

from inv3d.core.errors import PluginError
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.known_plugins import KnownPlugin, known_reader


def reader_of(tensors: Collection[str]) -> str | KnownPlugin | None:
    """Return the generator whose signature a network has.

    Args:
        tensors: names of its tensors.

    Returns:
        The name of an installed generator, a known plugin that isn't installed, or None.
    """
    names = set(tensors)
    for record in registry().of_kind("generators"):
        if record.own or record.status != "ok":
            continue
        try:
            signature = registry().load("generators", record.name).signature
        except PluginError:
            continue
        if signature and set(signature) <= names:
            return record.name
    return known_reader(names)
