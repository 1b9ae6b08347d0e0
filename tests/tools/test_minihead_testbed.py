"""The testbed: what is judged apart, and the table."""

from __future__ import annotations

import pytest

from inv3d.core.capture import Capture
from tools.minihead.evaluate import photograph
from tools.minihead.extras import EXTRAS, add_extras
from tools.minihead.heads import Heads
from tools.minihead.seeds import EVALUATION, z_of_seed
from tools.minihead.testbed import FITTED, TRUE, TURNED, judge, looks, table


@pytest.fixture(scope="module")
def pair() -> tuple[Capture, Capture]:
    head = Heads().build(z_of_seed(EVALUATION.start)[None])
    return (
        photograph(add_extras(head, EXTRAS), looks(), 64),
        photograph(head, looks(), 64),
    )


def test_a_head_without_its_extras_is_wrong_where_they_are(pair: tuple[Capture, Capture]) -> None:
    truth, plain = pair
    found = judge(plain.images, truth, plain)
    assert {f"psnr@{yaw}" for yaw in (FITTED, *TURNED)} <= set(found)
    assert found["extras@0.1"] < 15 < found["psnr@0.1"]


def test_other_errors_do_not_count_for_the_extras(pair: tuple[Capture, Capture]) -> None:
    truth, plain = pair
    same = (truth.images - plain.images).abs().amax(1, keepdim=True) <= 0.1
    noisy = (truth.images * 0.999 - 0.2 * same).clamp(min=-1)
    found = judge(noisy, truth, plain)
    assert found["extras@0.1"] > 60 > found["psnr@0.1"]


def test_the_table_has_means_over_heads_and_both_sides() -> None:
    rows = [
        {"way": way, "psnr@0.1": base, "psnr@0.5": base - 1, "psnr@-0.5": base - 3}
        for way, base in ((TRUE, 20.0), (TRUE, 22.0), ("W", 24.0))
    ]
    lines = table(rows).splitlines()
    assert lines[2].startswith("| true z | 2 | 21.0 | 19.0 |")
    assert lines[3].startswith("| W | 1 | 24.0 | 22.0 |")
    assert "extras" not in lines[0]
