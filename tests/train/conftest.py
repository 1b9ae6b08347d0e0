"""Trainings of the toy plugins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inv3d.core.registry.discovery import registry
from tests.train.toy_encoder import PLUGINS


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", ",".join(PLUGINS))
    registry.cache_clear()
    yield
    registry.cache_clear()
