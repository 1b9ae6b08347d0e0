"""What the editor is for, and all that editors are held to."""

import torch
from inv3d_zebra import Zebra, ZebraConfig, ZebraEdit

from inv3d import Inversion, Subject, toy_latents
from inv3d.testing.conformance import check_plugin


def test_it_conforms():
    report = check_plugin("zebra", "editors")
    print(report)
    report.require()


def test_strength_0_leaves_a_head_and_1_makes_the_mean(inv3d_generator, inv3d_context):
    editor, generator = Zebra(ZebraConfig(samples=500)), inv3d_generator
    try:
        next(editor.fit(generator, inv3d_context))
    except StopIteration as end:
        directions = end.value
    front = generator.spec.camera.front()
    head = Inversion(toy_latents(generator, 1), front, "toy", generator.spec.fingerprint)
    subject = Subject(generator, head)
    same = editor.apply(subject, ZebraEdit(strength=0), directions)
    mean = editor.apply(subject, ZebraEdit(strength=1), directions)
    assert torch.equal(same.ws, head.ws)
    assert torch.allclose(mean.ws[0, 0], directions.tensors["mean"], atol=1e-6)
    assert mean.history[-1].name == "zebra"
