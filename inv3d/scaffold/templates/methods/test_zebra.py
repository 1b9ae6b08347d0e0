"""What the method is for, and all that methods are held to."""

from inv3d_zebra import Zebra, ZebraConfig

from inv3d import load_method
from inv3d.testing.conformance import check_plugin


def test_it_conforms():
    report = check_plugin("zebra", "methods")
    print(report)
    report.require()


def test_it_is_found_by_its_name():
    assert isinstance(load_method("zebra"), Zebra)


def test_it_finds_a_known_head(inv3d_generator, inv3d_capture, inv3d_context):
    log = []
    method = Zebra(ZebraConfig(steps=30))
    method.invert(inv3d_generator, inv3d_capture, inv3d_context, log.append)
    assert log[-1].losses["total"] < log[0].losses["total"] / 3
