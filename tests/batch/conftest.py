"""What tests of workers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.commands.run_cli import registered


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and the toy generator among the plugins."""
    torch.set_num_threads(1)
    yield from registered(monkeypatch)
