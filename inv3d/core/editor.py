"""The contract of an editor: directions fitted to a generator, applied to inversions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from inv3d.core.config import PluginConfig
from inv3d.core.fit.context import Context
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion
from inv3d.core.plugin import Plugin


class Editor(Plugin, ABC):
    """Directions in latent or scene space, fitted to a generator and applied to inversions."""

    @classmethod
    def create(cls, config: PluginConfig) -> Editor:
        """Build the editor with its options."""
        return cls(config)

    def __init__(self, config: PluginConfig) -> None:
        self.config = config

    @abstractmethod
    def fit(self, generator: Generator, context: Context) -> Mapping[str, Tensor]:
        """Find directions, to be saved with the generator's fingerprint."""

    @abstractmethod
    def apply(
        self, inversion: Inversion, directions: Mapping[str, Tensor], **options: Any
    ) -> Inversion:
        """Return an edited inversion."""
