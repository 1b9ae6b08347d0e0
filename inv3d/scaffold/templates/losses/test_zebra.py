"""What the loss is for, and all that losses are held to."""

import torch
from inv3d_zebra import Zebra

from inv3d import Rendering, Target, load_loss
from inv3d.testing.conformance import check_plugin


def test_it_conforms():
    report = check_plugin("zebra", "losses")
    print(report)
    report.require()


def test_it_doesnt_see_brightness_but_sees_edges():
    loss = load_loss("zebra")
    assert isinstance(loss, Zebra)
    flat, edge = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    cache = loss.prepare(Target(flat))
    assert float(loss(Rendering(image=flat + 0.5), cache)) == 0
    assert float(loss(Rendering(image=edge), cache)) > 0
