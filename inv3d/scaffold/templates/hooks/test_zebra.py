"""What the hooks are for, and all that hooks are held to."""

import inv3d_zebra
from click.testing import CliRunner

from inv3d import Progress
from inv3d.testing.conformance import check_plugin


def test_they_conform():
    report = check_plugin("zebra", "hooks")
    print(report)
    report.require()


def test_the_last_loss_is_shown(tmp_path):
    inv3d_zebra.inv3d_run_start(tmp_path)
    for step in range(3):
        progress = Progress("latent", step, 3, {"total": 1.0 / (step + 1)}, {}, 0.1)
        inv3d_zebra.inv3d_run_step(tmp_path, progress)
    shown = CliRunner().invoke(inv3d_zebra.command, [str(tmp_path)])
    assert shown.output == "latent: 0.3333333333333333 after 3 steps\n"
