"""The contract of a method: a capture goes in, an inversion comes out, step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from collections.abc import Generator as Iteration
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import torch
from torch import Tensor

from inv3d.core.arguments import expect
from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig, build_config, build_suited
from inv3d.core.errors import ConfigError, InputError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.generator import Generator
from inv3d.core.inversion import Inversion, Snapshot
from inv3d.core.plugin import Plugin
from inv3d.core.registry.discovery import registry

# what a method yields, one item an optimisation step, and what it returns at the end
Steps = Iteration[Progress, None, Inversion]
Need = Literal["cameras", "masks", "depths"]
NEEDS: tuple[Need, ...] = get_args(Need)
C = TypeVar("C", bound=PluginConfig)


@dataclass(frozen=True)
class Diagnostic:
    """Pictures that show how a method got where it is; the report has them.

    Attributes:
        title: of the row of pictures.
        images: [N, 3, H, W] in [-1, 1].
        labels: N texts, one under each picture; none leaves them without.
    """

    title: str
    images: Tensor
    labels: Sequence[str] = ()


class Inverter(Plugin, ABC, Generic[C]):
    """A method: a capture goes in, an inversion comes out, step by step.

    `Inverter[MyConfig]` says the type of its options.

    Attributes:
        needs: what a capture must have besides images.
        min_views: that it needs.
        default_views: that are chosen where the user names no number.
        takes_init: whether it starts from `context.init` where a user gives --init; it's an error
            to give one to a method that doesn't.
        instant: whether it optimises nothing, so that --init can name it and others start from
            what it makes of the same views.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"cameras"})
    min_views: ClassVar[int] = 1
    default_views: ClassVar[int] = 9
    takes_init: ClassVar[bool] = False
    instant: ClassVar[bool] = False
    config: C

    @classmethod
    def create(cls, config: C) -> Self:
        """Build the method with its options, and with networks where it has any, on the CPU."""
        return cls(config)

    def __init__(self, config: C) -> None:
        self.config = config

    def fitted(self, cameras: Camera | None, count: int) -> Sequence[int]:
        """Return which of the views that were chosen this method fits; all unless overridden.

        A run asks before a picture is read. The other views aren't handed to `steps`: they are
        measured as held-out ones, so that a report never calls a view fitted that wasn't. Of the
        views that it returns, it must fit all.

        Args:
            cameras: of the chosen views, or None where they aren't known.
            count: how many views were chosen.

        Returns:
            Their positions among the chosen views, each once, in any order.
        """
        return range(count)

    @abstractmethod
    def steps(self, generator: Generator, capture: Capture, context: Context) -> Steps:
        """Run the inversion, one item an optimisation step, and return the result.

        A method that optimises nothing yields nothing. The generator may be changed; what was
        changed is in the result.

        Args:
            generator: frozen, in eval mode, on the context's device.
            capture: the views to invert, with what `needs` names.
            context: device, seed, losses, the optimisation loop.
        """

    def inversion(
        self,
        generator: Generator,
        context: Context,
        ws: Tensor,
        cameras: Camera,
        snapshot: Snapshot | None = None,
        **more: Any,
    ) -> Inversion:
        """Return what was found in the one result format, on the CPU.

        Args:
            generator: that was inverted into.
            context: of the run.
            ws: [M, num_ws, w_dim].
            cameras: M, those that the latents belong to.
            snapshot: of the generator before it was tuned, if it was.
            more: other fields of the inversion, such as `blend`, `offset` or `poses`.
        """
        for name in ("offset", "poses"):
            tensors = more.get(name, {})
            more[name] = {key: _kept(value) for key, value in tensors.items()}
        delta = {} if snapshot is None else snapshot.delta()
        generator.tuned |= bool(delta)  # where the method left its weights unsettled
        return Inversion(
            ws=_kept(ws),
            cameras=Camera(_kept(cameras.cam2world), _kept(cameras.intrinsics)),
            generator=type(generator).name,
            fingerprint=generator.spec.fingerprint,
            generator_delta=delta,
            history=context.history(self.name, self.config),
            **more,
        )

    @classmethod
    def together(cls, singles: Sequence[Single]) -> Sequence[Inversion]:
        """Invert independent captures and return the result of each; one by one unless overridden.

        A batch asks a method that is `instant` for several at a time. One that sends the views of
        all through its networks at once saves time; results must be those of `invert` but for
        rounding. What it shows and what it has to say belongs to each: it's left in
        `single.method` and `single.context`.

        Args:
            singles: one or more.
        """
        return [one.method.invert(one.generator, one.capture, one.context) for one in singles]

    def diagnostics(self) -> Sequence[Diagnostic]:
        """Return pictures for the report, after the last step; none by default."""
        return ()

    def invert(
        self,
        generator: Generator,
        capture: Capture,
        context: Context,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Inversion:
        """Run to the end and return the result.

        Args:
            generator: see `steps`.
            capture: see `steps`.
            context: see `steps`.
            on_step: is told of every step.

        Raises:
            ConfigError: where an argument is of another type.
            InputError: where the generator is tuned, since a result says what differs from the
                original weights.
        """
        expect("generator", generator, Generator, "a Generator, as inv3d.load_generator returns it")
        expect("capture", capture, Capture, "a Capture, as inv3d.open_capture(folder).load(128) is")
        expect("context", context, Context, "a Context, such as inv3d.Context.create()")
        if generator.tuned:
            raise InputError(
                f"generator {generator.spec.name}: is tuned already, by an inversion or for one; "
                "load a fresh one for another inversion"
            )
        steps = self.steps(generator, capture, context)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: Inversion = end.value
                return found
            if on_step is not None:
                on_step(step)


def _kept(tensor: Tensor) -> Tensor:
    """Return a tensor as results keep it: single precision, on the CPU, of its own."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


AnyInverter = Inverter[Any]


@dataclass(frozen=True)
class Single:
    """One of several inversions that are made together; see `Inverter.together`.

    Attributes:
        method: of its own, with the same options as the others.
        generator: of its own, with the same weights and on the same device as the others.
        capture: see `Inverter.steps`.
        context: see `Inverter.steps`.
    """

    method: AnyInverter
    generator: Generator
    capture: Capture
    context: Context


def load_inner_method(
    name: str,
    options: Mapping[str, Any],
    generator: Generator,
    *,
    option: str,
    has: Set[Need],
) -> AnyInverter:
    """Build a method that another one calls, for the one picture that it has.

    Args:
        name: of the plugin.
        options: nested plain values.
        generator: that it will run on.
        option: of the calling method, that names it, for the message.
        has: what there is besides the picture.

    Raises:
        PluginError: where the name is unknown.
        ConfigError: where an option is wrong, or it needs more than there is.
    """
    method = load_method(name, options, generator)
    lacking = [f"{method.min_views} views"] if method.min_views > 1 else []
    lacking += sorted(method.needs - has)
    if lacking:
        raise ConfigError(
            f"option '{option}': method {name} needs {' and '.join(lacking)}, and there's one "
            "picture without; name another method"
        )
    return method


def load_method(
    name: str, options: Mapping[str, Any] | None = None, generator: Generator | None = None
) -> AnyInverter:
    """Build a method by name.

    Args:
        name: of the plugin.
        options: nested plain values; they win over what suits the generator.
        generator: that it will run on, if its suggestions are wanted.

    Raises:
        PluginError: where the name is unknown.
        ContractError: where what the generator suggests is wrong.
        ConfigError: where an option is unknown or out of range.
    """
    kind: type[AnyInverter] = registry().load("methods", name)
    owner = f"method {name}"
    kinds = (Generator, type(None))
    expect("generator", generator, kinds, "a Generator, as inv3d.load_generator returns it")
    if generator is None:
        return kind.create(build_config(kind.Config, options or {}, owner))
    suited = generator.method_options.get(name, {})
    source = f"generator {type(generator).name}: its method_options"
    return kind.create(build_suited(kind.Config, suited, options or {}, owner, source))
