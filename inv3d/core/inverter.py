"""The contract of a method: a capture goes in, an inversion comes out, step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig, build_config, merge
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry


class Inverter(Plugin, ABC):
    """A method: a capture goes in, an inversion comes out, step by step.

    Attributes:
        min_views: that it needs.
        default_views: that are chosen where the user names no number.
    """

    min_views: ClassVar[int] = 1
    default_views: ClassVar[int] = 9

    @classmethod
    def create(cls, config: PluginConfig) -> Inverter:
        """Build the method with its options."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        self.config = config

    @abstractmethod
    def steps(self, generator: Generator, capture: Capture, context: Context) -> Iterator[Progress]:
        """Run the inversion, one item an optimisation step; drives CLI, viewers and tests."""

    @abstractmethod
    def result(self) -> Inversion:
        """Return the inversion as it stands after the steps taken so far."""

    def invert(self, generator: Generator, capture: Capture, context: Context) -> Inversion:
        """Run to the end and return the result."""
        for _ in self.steps(generator, capture, context):
            pass
        return self.result()


def load_method(name: str, options: Mapping[str, Any], generator: Generator) -> Inverter:
    """Build a method by name; `options` win over what suits the generator.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is.
    """
    kind: type[Inverter] = registry().load("methods", name)
    options = merge(generator.method_options.get(name, {}), options)
    return kind.create(build_config(kind.Config, options, f"method {name}"))
