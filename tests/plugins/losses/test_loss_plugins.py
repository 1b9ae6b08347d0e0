"""What every loss says of itself."""

import subprocess
import sys

import pytest

from inv3d.core.loss import Loss
from inv3d.core.registry.discovery import registry

NAMES = (
    "mse l1 smooth_l1 lpips stylegan_vgg arcface headid headfeat lookalikes faceid w_norm w_dist "
    "depth_consistency depth_smoothness symmetry warping contextual noise"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_described(name):
    kind = registry().load("losses", name)
    assert issubclass(kind, Loss) and kind.name == name
    assert kind.summary and kind.licence and "\n" not in kind.summary
    for field, info in kind.Config.model_fields.items():
        assert info.description, f"{name}.{field}"
    kind.Config()


def test_heavy_packages_wait_until_used():
    modules = ", ".join(
        f"inv3d.plugins.losses.{m}" for m in ("lpips", "arcface", "headid", "stylegan_vgg")
    )
    code = (
        f"import sys, {modules}; print([m for m in ('lpips', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
