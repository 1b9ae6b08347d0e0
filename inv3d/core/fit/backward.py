"""Gradients over many views of one or several scenes, a few views at a time.

A scene that several views share is synthesised once. Where not all views fit into memory, the
graph is cut at the scene and at the cameras: views are rendered and back-propagated a few at a
time into these, and from there once into backbone, latent and whatever the cameras depend on.
Memory doesn't grow with the number of views, and the gradient is the same.

On CUDA what lies between these cuts is recorded where it comes again (`replay`). Runs that keep
company compute it together (`company`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inv3d.core.border import check_rendering
from inv3d.core.camera import Camera
from inv3d.core.fit import company
from inv3d.core.fit.objective import Objective
from inv3d.core.fit.replay import Replays, Same
from inv3d.core.generator import Generator
from inv3d.core.scene import OutputName, Rendering, Scene

Joint = Callable[[Rendering, Camera], Tensor]
TOTAL = "total"
_WS, _OFFSET = "ws", "offset/"


@dataclass(frozen=True)
class Source:
    """Where B scenes come from.

    Attributes:
        make: rows of the batch and the inputs -> their scenes. It must take from its argument what
            gradients are to reach, apart from the generator's parameters: the graph is cut there,
            so that all that the inputs depend on is back-propagated once.
        count: B.
        inputs: name -> tensor, such as latents, offsets, or what they're made from.
        latent: [B, num_ws, w_dim], what losses on the latent see; None shows them the latents
            that the scenes carry. Different where scenes are made from noisy latents.
        alike: equal for sources whose `make` does the same with its arguments; None where that
            isn't known, so that every pass is computed anew.
        synthesizer: the generator whose `synthesize` alone makes them, of latents and offsets, as
            `latent_source` says it; None for any other way.
    """

    make: Callable[[slice, Mapping[str, Tensor]], Scene]
    count: int
    inputs: Mapping[str, Tensor]
    latent: Tensor | None = None
    alike: Hashable | None = None
    synthesizer: Generator | None = None


def latent_source(
    generator: Generator,
    ws: Tensor,
    *,
    offset: Mapping[str, Tensor] | None = None,
    latent: Tensor | None = None,
) -> Source:
    """Return the scenes of latents.

    Args:
        generator: that synthesises them.
        ws: [B, num_ws, w_dim].
        offset: part name -> [1 or B, ...], added to the scenes.
        latent: see `Source`; `ws` if None.

    Raises:
        ValueError: where a part has another number of rows.
    """
    added = dict(offset or {})
    for name, part in added.items():
        if len(part) not in (1, len(ws)):
            raise ValueError(
                f"offset '{name}': {len(part)} rows for {len(ws)} scenes, expected 1 or {len(ws)}"
            )

    def make(rows: slice, inputs: Mapping[str, Tensor]) -> Scene:
        scene = generator.synthesize(inputs[_WS][rows])
        parts = {name: inputs[f"{_OFFSET}{name}"] for name in added}
        return scene + {n: p if len(p) == 1 else p[rows] for n, p in parts.items()}

    inputs = {_WS: ws} | {f"{_OFFSET}{name}": part for name, part in added.items()}
    alike = (latent_source, Same(generator), tuple(added))
    return Source(make, len(ws), inputs, ws if latent is None else latent, alike, generator)


@dataclass(frozen=True)
class Look:
    """A set of cameras that look at the scenes, and what is made of what they see.

    Attributes:
        camera: N = B * V cameras, V consecutive ones a scene; gradients reach what they depend on.
        objective: over N targets.
        joint: function of what all N cameras see together, and of the cameras, to a scalar; called
            once. It must take the cameras from its argument.
        outputs: what `joint` reads of the rendering; it's given nothing else.
        resolution: rays a side; the generator's own if None.
        weight: of all that this look adds.
        name: before the names of its losses; empty for none.

    Example:
        >>> import inv3d, torch
        >>> generator = inv3d.ToyGenerator(inv3d.ToyConfig()).requires_grad_(False)
        >>> context, views = inv3d.Context.create(), inv3d.toy_capture(generator, 3)
        >>> target = inv3d.target_of(generator, views)
        >>> look = inv3d.Look(views.camera, context.objective({"mse": inv3d.LossTerm()}, target))
        >>> ws = inv3d.latent_statistics(generator, 100).mean.repeat(1, 4, 1).requires_grad_()
        >>> sorted(context.backward(generator, ws, look)), ws.grad.shape
        (['mse', 'total'], torch.Size([1, 4, 8]))
    """

    camera: Camera
    objective: Objective | None = None
    joint: Joint | None = None
    outputs: Sequence[OutputName] = ()
    resolution: int | None = None
    weight: float = 1.0
    name: str = ""

    @property
    def needs(self) -> tuple[OutputName, ...]:
        """All fields of a rendering that it reads."""
        wanted = () if self.objective is None else self.objective.outputs
        return tuple(dict.fromkeys((*wanted, *self.outputs)))


def backward(
    generator: Generator,
    source: Source,
    looks: Sequence[Look],
    *,
    chunk: int | None = None,
    rng: torch.Generator | None = None,
    replays: Replays | None = None,
) -> dict[str, Tensor]:
    """Render all looks of each scene, add the gradients of all that is made of them.

    With a chunk, the views of a look with a `joint` function are rendered twice: once without
    gradient for the function, whose gradient on the pictures is then back-propagated a few views
    at a time.

    Args:
        generator: gradients reach its parameters where they require them.
        source: of the scenes.
        looks: all share the scenes, which are synthesised once.
        chunk: views rendered at a time; all if None.
        rng: the generator's source of random samples, rewound for the second rendering.
        replays: earlier passes, where those that come again are recorded.

    Returns:
        Loss name -> sum over the views, and "total", the weighted sum over all looks; detached, on
        the device. Names have that of their look before them where it has one.

    Raises:
        ValueError: where cameras, scenes and targets don't fit.
    """
    if not looks:
        raise ValueError("nothing looks at the scenes: give at least one look")
    for look in looks:
        _check_counts(look, source)
    one = _Pass(generator, source, looks, chunk, rng)
    gather = company.gather if replays is None or company.present() else replays.gather
    sums = gather(one)
    one.finish()
    return sums


def unsteady(generator: Generator, looks: Sequence[Look]) -> list[str]:
    """Return who takes part in a pass without saying that it's replayable, as in "loss edges"."""
    objectives = [look.objective for look in looks if look.objective is not None]
    losses = dict.fromkeys(name for one in objectives for name in one.unsteady)
    own = [] if generator.replayable else [f"generator {generator.spec.name}"]
    return own + [f"loss {name}" for name in losses]


def _check_counts(look: Look, source: Source) -> None:
    cameras = len(look.camera)
    if cameras == 0 or cameras % source.count:
        raise ValueError(
            f"{cameras} cameras can't be shared by {source.count} scenes: expected a multiple"
        )
    if look.objective is not None and look.objective.views != cameras:
        raise ValueError(f"{look.objective.views} targets for {cameras} cameras")


class _Pass:
    """One backward pass.

    Attributes:
        ahead: number of a look -> gradient of its joint function, where that looked ahead.
        starts: first scene of a block -> random state before the block was made the first time.
    """

    def __init__(
        self,
        generator: Generator,
        source: Source,
        looks: Sequence[Look],
        chunk: int | None,
        rng: torch.Generator | None,
    ) -> None:
        self.generator = generator
        self.source = source
        self.looks = looks
        self.chunk = chunk
        self.rng = rng
        self.inputs = {name: _cut(tensor) for name, tensor in source.inputs.items()}
        self.latent = None if source.latent is None else _cut(source.latent)
        self.cameras = [_cut_camera(look.camera) for look in looks]
        self.sums: dict[str, Tensor] = {}
        self.ahead: dict[int, _JointGradient] = {}
        self.starts: dict[int, Tensor] = {}

    def key(self) -> Hashable | None:
        """What two passes share that differ by numbers alone; None where more may differ.

        That's so where a look is a function, or a plugin doesn't say that it's replayable.
        """
        joint = any(look.joint is not None for look in self.looks)
        if self.source.alike is None or joint or unsteady(self.generator, self.looks):
            return None
        looks = tuple(
            (Same(k.objective), tuple(k.outputs), k.resolution, k.weight, k.name)
            for k in self.looks
        )
        forms = tuple((leaf.shape, leaf.dtype, leaf.requires_grad) for leaf in self.leaves())
        kept = tuple((tensor.data_ptr(), tensor.requires_grad) for tensor in self.shared())
        source = (self.source.alike, self.source.count, tuple(self.inputs))
        return source, looks, self.chunk, forms, kept

    def own(self) -> _Pass:
        """Return the same pass over copies of all that it begins with."""
        source, looks = self.source, self.looks
        inputs = {name: _copied(tensor) for name, tensor in source.inputs.items()}
        latent = None if source.latent is None else _copied(source.latent)
        cameras = [Camera(_copied(k.camera.cam2world), _copied(k.camera.intrinsics)) for k in looks]
        return _Pass(
            self.generator,
            replace(source, inputs=inputs, latent=latent),
            [replace(look, camera=camera) for look, camera in zip(looks, cameras, strict=True)],
            self.chunk,
            self.rng,
        )

    def leaves(self) -> list[Tensor]:
        """Return inputs, latent and cameras, where the graph is cut."""
        latent = [] if self.latent is None else [self.latent]
        cameras = [part for c in self.cameras for part in (c.cam2world, c.intrinsics)]
        return [*self.inputs.values(), *latent, *cameras]

    def shared(self) -> list[Tensor]:
        """Return the generator's parameters and buffers, such as noise maps that are optimised."""
        return [*self.generator.parameters(), *self.generator.buffers()]

    def draws(self) -> list[Tensor]:
        """Return the states of the random numbers: the run's, and PyTorch's own."""
        return [torch.get_rng_state(), *([] if self.rng is None else [self.rng.get_state()])]

    def gather(self) -> dict[str, Tensor]:
        """Let gradients arrive at the cuts and at the generator's parameters."""
        self.sums = {}
        for index, look in enumerate(self.looks):
            if look.joint is not None and self._split(look):
                self.ahead[index] = self._look_ahead(index)
        for scenes in self._blocks():
            self._block(scenes)
        return self.sums

    def likeness(self) -> Hashable | None:
        """What passes of several runs share that can be computed as one; see `company`."""
        generator, source = self.generator, self.source
        most = max(len(look.camera) for look in self.looks)
        if source.synthesizer is not generator or generator.tuned:
            return None
        if any(tensor.requires_grad for tensor in self.shared()) or (self.chunk or most) < most:
            return None
        views = [len(look.camera) // source.count for look in self.looks]
        looks = tuple((n, k.needs, k.resolution) for n, k in zip(views, self.looks, strict=True))
        options = None if generator.config is None else generator.config.model_dump_json()
        forms = tuple((name, part.shape[1:]) for name, part in self.inputs.items())
        about = generator.spec.fingerprint, options, generator.dtype, generator.device
        return type(generator), *about, forms, looks

    def gather_with(self, others: Sequence[_Pass]) -> list[dict[str, Tensor]]:
        """Let gradients arrive at the cuts of this and of other passes, in one."""
        passes = (self, *others)
        names = tuple(self.inputs)
        joined = {name: torch.cat([one._rows_of(name) for one in passes]) for name in names}
        ws = joined.pop(_WS)
        offset = {name.removeprefix(_OFFSET): part for name, part in joined.items()}
        source = latent_source(self.generator, ws, offset=offset)
        scene = source.make(slice(0, len(ws)), source.inputs)
        seen = scene if len(self.looks) == 1 else scene.apply(_cut)
        for index in range(len(self.looks)):
            camera = Camera.cat([one.cameras[index] for one in passes])
            rendering = self._render(index, seen, camera)
            counts = [len(one.cameras[index]) for one in passes]
            parts = zip(passes, rendering.split(counts), counts, strict=True)
            totals = [one._total(index, part, slice(0, n)) for one, part, n in parts]
            if wanted := [total for total in totals if total is not None]:
                torch.autograd.backward(wanted)
        if seen is not scene:
            _pass_on(scene.tensors(), seen.tensors())
        return [one.sums for one in passes]

    def forget(self) -> None:
        """Drop the gradients that have arrived at the cuts."""
        self.sums = {}
        for leaf in self.leaves():
            leaf.grad = None

    def _rows_of(self, name: str) -> Tensor:
        """Return an input with a row for each scene."""
        part = self.inputs[name]
        return part.expand(self.source.count, *part.shape[1:])

    def finish(self) -> None:
        """Pass on what arrived at inputs, latent and cameras, in one go: they may share a graph."""
        latent = [] if self.source.latent is None else [self.source.latent]
        cameras = [part for k in self.looks for part in (k.camera.cam2world, k.camera.intrinsics)]
        _pass_on([*self.source.inputs.values(), *latent, *cameras], self.leaves())

    def _split(self, look: Look) -> bool:
        """Whether not all of its views are rendered at once; looks of more views may be why."""
        return sum(len(self._parts(look, scenes)) for scenes in self._blocks()) > 1

    def _blocks(self) -> Iterator[slice]:
        """Scenes that are synthesised together; several only come with all their views."""
        most = max(len(look.camera) // self.source.count for look in self.looks)
        size = self.source.count if self.chunk is None else max(1, self.chunk // most)
        return _slices(0, self.source.count, size)

    def _parts(self, look: Look, scenes: slice) -> list[slice]:
        """The views of each rendering of a look at some scenes, among all N."""
        views = len(look.camera) // self.source.count
        start, stop = scenes.start * views, scenes.stop * views
        return list(_slices(start, stop, self.chunk or stop - start))

    def _make(self, scenes: slice) -> Scene:
        """Make the scenes of a block, every time from the same random numbers."""
        if self.rng is not None and scenes.start in self.starts:
            self.rng.set_state(self.starts[scenes.start])
        elif self.rng is not None:
            self.starts[scenes.start] = self.rng.get_state()
        return self.source.make(scenes, self.inputs)

    def _block(self, scenes: slice) -> None:
        """Render and back-propagate every look at some scenes."""
        scene = self._make(scenes)
        todo = [(i, views) for i, k in enumerate(self.looks) for views in self._parts(k, scenes)]
        seen = scene if len(todo) == 1 else scene.apply(_cut)
        for index, views in todo:
            self._take(index, seen, views)
        if seen is not scene:
            _pass_on(scene.tensors(), seen.tensors())

    def _take(self, index: int, scene: Scene, views: slice) -> None:
        ahead = self.ahead.get(index)
        if ahead is not None and self.rng is not None:
            ahead.rewind(self.rng, views)
        rendering = self._render(index, scene, self.cameras[index][views])
        total = self._total(index, rendering, views)
        roots: list[Tensor] = [] if total is None else [total]
        gradients: list[Tensor | None] = [None] * len(roots)
        for name, gradient in ahead.of(views) if ahead is not None else ():
            if rendering.require(name).requires_grad:
                roots.append(rendering.require(name))
                gradients.append(gradient)
        if roots:
            torch.autograd.backward(roots, gradients)

    def _total(self, index: int, rendering: Rendering, views: slice) -> Tensor | None:
        """Sum of all that a look makes of a rendering; None where it makes nothing of it."""
        terms = self._terms(index, rendering, views)
        if not terms:
            return None
        total = self.looks[index].weight * sum(terms[1:], terms[0])
        self._add(TOTAL, total.detach())
        return total

    def _terms(self, index: int, rendering: Rendering, views: slice) -> list[Tensor]:
        """What a look makes of a rendering: its objective, its joint function unless it's split."""
        look = self.looks[index]
        terms: list[Tensor] = []
        if look.objective is not None:
            total, parts = look.objective.evaluate(self._with_latent(rendering, look, views), views)
            terms.append(total)
            for name, value in parts.items():
                self._add(f"{look.name}/{name}" if look.name else name, value)
        if look.joint is not None and index not in self.ahead:
            seen = {name: rendering.require(name) for name in look.outputs}
            terms.append(look.joint(Rendering(**seen), self.cameras[index]))
        return terms

    def _render(self, index: int, scene: Scene, camera: Camera) -> Rendering:
        look = self.looks[index]
        outputs, side = look.needs, look.resolution
        seen = self.generator.render(scene, camera, outputs=outputs, resolution=side)
        check_rendering(self.generator, seen, outputs, len(camera), side)
        return seen

    def _with_latent(self, rendering: Rendering, look: Look, views: slice) -> Rendering:
        """Show losses the latent that isn't the one that was synthesised."""
        if self.latent is None:
            return rendering
        views_a_scene = len(look.camera) // self.source.count
        rows = torch.arange(views.start, views.stop, device=self.latent.device) // views_a_scene
        return replace(rendering, ws=self.latent[rows])

    def _look_ahead(self, index: int) -> _JointGradient:
        """Find the gradient of a joint function on the pictures, without a graph behind them."""
        look = self.looks[index]
        assert look.joint is not None
        start = None if self.rng is None else self.rng.get_state()
        states: dict[int, Tensor] = {}
        parts: list[Rendering] = []
        with torch.no_grad():
            for scenes in self._blocks():
                scene = self._make(scenes)
                for views in self._parts(look, scenes):
                    if self.rng is not None:
                        states[views.start] = self.rng.get_state()
                    parts.append(self._render(index, scene, self.cameras[index][views]))
        if self.rng is not None and start is not None:
            self.rng.set_state(start)
        whole = Rendering.cat(parts)
        leaves = {name: whole.require(name).detach().requires_grad_() for name in look.outputs}
        value = look.joint(Rendering(**leaves), self.cameras[index])
        (look.weight * value).backward()  # type: ignore[no-untyped-call]
        self._add(TOTAL, look.weight * value.detach())
        return _JointGradient(leaves, states)

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value


@dataclass(frozen=True)
class _JointGradient:
    """The gradient of a joint function on what all views of a look see.

    Attributes:
        leaves: output -> [N, ...], with its gradient.
        states: first view of a rendering -> random state before it.
    """

    leaves: Mapping[OutputName, Tensor]
    states: Mapping[int, Tensor]

    def rewind(self, rng: torch.Generator, views: slice) -> None:
        """Let a rendering draw the same random numbers again."""
        rng.set_state(self.states[views.start])

    def of(self, views: slice) -> Iterator[tuple[OutputName, Tensor]]:
        """Yield the outputs that the function reads, and the gradient on some views of each."""
        for name, leaf in self.leaves.items():
            if leaf.grad is not None:
                yield name, leaf.grad[views]


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _cut(tensor: Tensor) -> Tensor:
    """Return the same values as a leaf that collects the gradient."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _copied(tensor: Tensor) -> Tensor:
    """Return a copy that wants a gradient where the original does."""
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _cut_camera(camera: Camera) -> Camera:
    return Camera(_cut(camera.cam2world), _cut(camera.intrinsics))


def _pass_on(tensors: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
    """Hand the gradients that arrived at the leaves on to the tensors that they stand for."""
    pairs = [
        (t, leaf.grad) for t, leaf in zip(tensors, leaves, strict=True) if leaf.grad is not None
    ]
    if pairs and any(t.requires_grad for t, _ in pairs):
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])
