"""What a step on a GPU may not do: ask for a number, as the host then waits for all before it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inv3d.core.fit.backward import Look
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Group, Stage, run_stage
from inv3d.core.fit.schedule import constant
from inv3d.core.fit.terms import LossTerm
from inv3d.core.loss import Target
from inv3d.nn.eg3d.generator import TriplaneGenerator
from inv3d.plugins.generators.eg3d import EG3D
from inv3d.plugins.generators.panohead import PanoHead
from tests.tiny_generators import latents, tiny, views

_ASKING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")


class Asked(TorchDispatchMode):
    """Notes operations whose result, or whose size, the host must know."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in _ASKING or (name.startswith("index") and _by_mask(args)):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _by_mask(args: tuple[Any, ...]) -> bool:
    """Whether something is indexed by a mask, whose count is the size of the result."""
    index = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(part is not None and part.dtype == torch.bool for part in index)


def test_what_asks_is_noted() -> None:
    with Asked() as asked:
        torch.ones(1).item()
        torch.ones(3)[torch.ones(3) > 0]
    assert asked.names == ["_local_scalar_dense", "index"]


@pytest.mark.parametrize("kind", [EG3D, PanoHead])
def test_steps_ask_for_nothing_until_losses_are_read(
    kind: type[TriplaneGenerator], monkeypatch: pytest.MonkeyPatch
) -> None:
    # ways of CPUs alone, which look at numbers
    monkeypatch.setattr("inv3d.nn.modulated.epilogue.may_ask", lambda x: False)
    monkeypatch.setattr("inv3d.nn.planes.decode._fits", lambda *given: False)
    generator = tiny(kind).requires_grad_(False)
    camera = views(2, generator)
    context = Context.create(read_every=9)
    target = Target(torch.zeros(2, 3, 16, 16), rays=6)
    objective = context.objective({"mse": LossTerm(), "l1": LossTerm(weight=0.1)}, target)
    ws = latents(1, generator).requires_grad_()
    stage = Stage(
        "latent",
        3,
        {"ws": Group({"ws": ws}, constant(0.01))},
        {"fit": lambda step: context.backward(generator, ws, Look(camera, objective))},
    )
    before = ws.detach().clone()
    with Asked() as asked:
        steps = list(run_stage(stage, context.state))
    assert len(steps) == 3 and not torch.equal(ws, before)
    assert asked.names == []
