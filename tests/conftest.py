"""What holds for every test: no network, and no weight file or plugin of the person who runs it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from inv3d.core.weights.fetch import OFFLINE
from inv3d.core.weights.known import DIRECTORY
from tests.offline import sitecustomize

# A busy machine is no failure: examples have no deadline.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# A shell lets what it starts in the background ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Shared checks show the values that they compared, as tests do.
for module in ("golden_generators", "golden_images", "tiny_generators"):
    pytest.register_assert_rewrite(f"tests.{module}")


@pytest.fixture(scope="session", autouse=True)
def nothing_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sockets of this process are watched from the import above on, those of its children here."""
    folder = tmp_path_factory.mktemp("weights")
    offline = str(Path(sitecustomize.__file__).parent)
    paths = [offline, os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("INV3D_")]:
            if name != "INV3D_FUZZ":
                patch.delenv(name)
        patch.setenv(OFFLINE, "1")
        patch.setenv(DIRECTORY, str(folder / "inv3d"))
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setattr(sys, "path", [*sys.path, offline])  # which some children are handed
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield
