"""Inversion: the one result format, a directory of safetensors and JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from inv3d.core.arguments import PATH, expect
from inv3d.core.camera import Camera
from inv3d.core.errors import InputError, InvError, RunError, WeightsError, first_line, plain_text
from inv3d.core.generator import Generator
from inv3d.core.latent import Places, between_angles
from inv3d.core.scene import Scene
from inv3d.core.weights.tensors import (
    check_finite,
    fingerprint,
    read_tensors,
    under_prefix,
    write_tensors,
)

FILE = "inversion.safetensors"
FORMAT = 2
Blend = Literal["yaw", "turn", "frame"]


@dataclass(frozen=True)
class Made:
    """One thing that was done to get an inversion.

    Attributes:
        kind: of what did it: a method, an editor, or the import of another project's result.
        name: of the plugin.
        preset: that its options come from, or None.
        options: all of them, resolved.
        parent: digest of the inversion that it started from, empty if from none.
    """

    kind: Literal["method", "editor", "import"]
    name: str
    preset: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""


@dataclass(frozen=True)
class Inversion:
    """A head that was found: latents, their cameras and what changed in the generator.

    Example:
        >>> import inv3d, torch
        >>> generator = inv3d.ToyGenerator(inv3d.ToyConfig())
        >>> cameras = generator.spec.camera.orbit(torch.tensor([0.5, -0.5]))
        >>> ws = inv3d.toy_latents(generator, 2, motion=0.3)
        >>> found = inv3d.Inversion(ws, cameras, "toy", generator.spec.fingerprint)
        >>> front = generator.spec.camera.front()
        >>> bool(torch.allclose(found.ws_for(front), ws.mean(0, keepdim=True)))
        True
        >>> image = generator.render(found.scene_for(generator, front), front).require("image")
        >>> image.shape
        torch.Size([1, 3, 32, 32])

    Attributes:
        ws: [M, num_ws, w_dim]; M > 1 for methods that give every camera its own latent.
        cameras: M cameras, those that the latents belong to.
        generator: name of the generator plugin.
        fingerprint: of the generator's architecture and weights before tuning.
        generator_delta: parameter name -> tuned minus original; empty if nothing was tuned.
        blend: how M latents become one for a camera: "yaw", linear between the two whose cameras
            bracket its yaw; "turn", the same around the circle, for generators that know all
            sides; "frame", one latent a frame of a video, by its name.
        frames: M names of the frames that the latents belong to; needed for "frame".
        offset: part name -> [1 or M, ...], added to every scene, or to those of each latent; any
            of the scene's parts.
        poses: image name -> label [25], of cameras that the method found.
        history: what made it, the last one last.
    """

    ws: Tensor
    cameras: Camera
    generator: str
    fingerprint: str
    generator_delta: Mapping[str, Tensor] = field(default_factory=dict)
    blend: Blend = "yaw"
    frames: tuple[str, ...] = ()
    offset: Mapping[str, Tensor] = field(default_factory=dict)
    poses: Mapping[str, Tensor] = field(default_factory=dict)
    history: tuple[Made, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.ws)
        if len(self.cameras) != count or (self.frames and len(self.frames) != count):
            raise ValueError(
                f"{count} latents with {len(self.cameras)} cameras and {len(self.frames)} frame "
                "names: expected one camera a latent, and one name a latent or none"
            )
        if self.blend == "frame" and not self.frames:
            raise ValueError("blend 'frame' needs the name of every latent's frame in `frames`")
        for name, part in self.offset.items():
            if len(part) not in (1, count):
                raise ValueError(
                    f"offset '{name}': {len(part)} rows for {count} latents, expected 1 or {count}"
                )

    @property
    def method(self) -> str:
        """Name of what made it last; empty where that isn't known."""
        return self.history[-1].name if self.history else ""

    def places(self, camera: Camera, frames: Sequence[str] = ()) -> Places:
        """Return where N cameras lie among the M latents.

        Args:
            camera: N cameras.
            frames: N names, where the cameras are those of frames; "frame" finds latents by them.
                A name that has no latent takes that of the camera that looks from the nearest
                direction, and so does every camera where there are no names.
        """
        if self.blend == "frame":
            return self._by_frame(camera, frames)
        angles, query = self.cameras.yaw.to(self.ws), camera.yaw.to(self.ws)
        return between_angles(angles, query, turn=self.blend == "turn")

    def _by_frame(self, camera: Camera, frames: Sequence[str]) -> Places:
        towards, query = (
            torch.nn.functional.normalize(c.position.to(self.ws), dim=1)
            for c in (self.cameras, camera)
        )
        nearest = (query @ towards.T).argmax(1)
        number = {name: row for row, name in enumerate(self.frames)}
        named = dict(enumerate(number.get(name) for name in frames))
        rows = [int(row) if named.get(i) is None else named[i] for i, row in enumerate(nearest)]
        chosen = torch.tensor(rows, device=self.ws.device)
        return Places(chosen, chosen, torch.zeros(len(chosen)).to(self.ws))

    def ws_for(self, camera: Camera, frames: Sequence[str] = ()) -> Tensor:
        """Return a latent for each of N cameras, [N, num_ws, w_dim]; see `places`."""
        if len(self.ws) == 1:
            return self.ws.expand(len(camera), *self.ws.shape[1:])
        return self.places(camera, frames).blend(self.ws)

    def scene_for(self, generator: Generator, camera: Camera, frames: Sequence[str] = ()) -> Scene:
        """Return the scenes that cameras see: one if there's one latent, else one a camera."""
        expect("camera", camera, Camera, "a Camera, such as generator.spec.camera.front()")
        shared = len(self.ws) == 1
        ws = self.ws if shared else self.ws_for(camera, frames)
        scene = generator.synthesize(ws.to(generator.device, generator.dtype))
        if not self.offset:
            return scene
        places = None if shared else self.places(camera, frames)
        return scene + {
            name: (part if places is None or len(part) == 1 else places.blend(part)).to(scene.ws)
            for name, part in self.offset.items()
        }

    def camera_of(self, frame: str) -> Camera | None:
        """Return the camera that the method found for a frame, or None."""
        pose = self.poses.get(frame)
        return None if pose is None else Camera.from_labels(pose[None])

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator than the one that this inversion was made with.

        Raises:
            ConfigError: where it's no generator.
            WeightsError: where architecture or weights differ.
        """
        expect("generator", generator, Generator, "a Generator, as inv3d.load_generator returns it")
        if generator.spec.fingerprint != self.fingerprint:
            raise WeightsError(
                f"generator {generator.spec.name}: fingerprint {generator.spec.fingerprint}, but "
                f"the run was made with {self.generator}, {self.fingerprint}; give the generator "
                "and the weights that it was made with"
            )

    def tune(self, generator: Generator) -> None:
        """Put the tuned weights into the untuned generator that this inversion was made with.

        Raises:
            WeightsError: where the generator is another one.
            InputError: where it is tuned already.
        """
        self.check_generator(generator)
        if not self.generator_delta:
            return
        if generator.tuned:
            raise InputError(
                f"generator {generator.spec.name}: is tuned already, and tuning adds to the "
                "original weights; load a fresh one"
            )
        state = generator.state_dict()
        missing = sorted(set(self.generator_delta) - set(state))
        if missing:
            raise WeightsError(
                f"the run tunes '{missing[0]}', which generator {generator.spec.name} doesn't "
                "have; the run's file was changed, make it again"
            )
        with torch.no_grad():
            for name, delta in self.generator_delta.items():
                state[name] += delta.to(state[name])
        generator.tuned = True

    @contextlib.contextmanager
    def tuned(self, generator: Generator) -> Iterator[Generator]:
        """Give the tuned generator for a while; afterwards it's as it was, to the last bit."""
        before = Snapshot(generator)
        self.tune(generator)
        try:
            yield generator
        finally:
            before.restore()

    def digest(self) -> str:
        """Return 16 hex digits that tell this inversion from others."""
        return fingerprint(self._metadata(), self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is kept in the file, by name."""
        tensors = {"ws": self.ws, "cameras": self.cameras.labels()}
        tensors |= {f"delta/{name}": value for name, value in self.generator_delta.items()}
        tensors |= {f"offset/{name}": value for name, value in self.offset.items()}
        if self.poses:
            tensors["poses"] = torch.stack(list(self.poses.values()))
        return tensors

    def _metadata(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "blend": self.blend,
            "frames": list(self.frames),
            "poses": list(self.poses),
            "history": [asdict(made) for made in self.history],
        }

    def save(self, directory: Path) -> None:
        """Write `inversion.safetensors` into a directory."""
        write_tensors(Path(directory) / FILE, self.tensors(), self._metadata())

    @staticmethod
    def load(directory: Path) -> Inversion:
        """Read a run directory.

        Raises:
            ConfigError: where `directory` is no path.
            RunError: where the directory holds no finished inversion, or one of another format.
            WeightsError: where the file is damaged.
        """
        expect("directory", directory, PATH, "the path of a run's directory")
        path = Path(directory) / FILE
        if not path.is_file():
            raise RunError(f"{directory}: no {FILE}; give the directory of a finished run")
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise RunError(
                f"{path}: format {metadata.get('format')}, expected {FORMAT}; "
                "read it with the version of 3dinv that wrote it"
            )
        check_finite(tensors, path)
        try:
            return _read(tensors, metadata)
        # of what a changed file may hold in the place of texts, lists and tensors of these shapes
        except (
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            InvError,
        ) as error:
            said = f"no {error}" if isinstance(error, KeyError) else first_line(error)
            raise WeightsError(
                f"{path}: isn't a whole inversion ({plain_text(said)}); the file was changed, make "
                "the run again"
            ) from None


def _read(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Inversion:
    if metadata["blend"] not in get_args(Blend):
        raise ValueError(f"blend is {metadata['blend']!r}")
    poses = zip(metadata["poses"], tensors.get("poses", ()), strict=True)
    texts = [metadata["generator"], metadata["fingerprint"], *metadata["frames"]]
    if not all(isinstance(text, str) for text in [*texts, *metadata["poses"]]):
        raise ValueError("a name isn't a text")
    if tensors["ws"].ndim != 3 or not tensors["ws"].is_floating_point():
        raise ValueError(f"latents of shape {tuple(tensors['ws'].shape)}")
    return Inversion(
        ws=tensors["ws"],
        cameras=Camera.from_labels(tensors["cameras"]),
        generator=metadata["generator"],
        fingerprint=metadata["fingerprint"],
        generator_delta=under_prefix(tensors, "delta/"),
        blend=metadata["blend"],
        frames=tuple(metadata["frames"]),
        offset=under_prefix(tensors, "offset/"),
        poses=dict(poses),
        history=tuple(_made(entry) for entry in metadata["history"]),
    )


def _made(entry: Mapping[str, Any]) -> Made:
    made = Made(**entry)
    texts = (made.kind, made.name, made.parent, made.preset or "")
    if not all(isinstance(text, str) for text in texts) or not isinstance(made.options, dict):
        raise ValueError("an entry of its history isn't one")
    return made


class Snapshot:
    """A generator's weights and buffers as they are now, to tell later what has changed."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.tuned = generator.tuned
        self.original = {
            name: value.detach().clone()
            for name, value in generator.state_dict().items()
            if value.is_floating_point()
        }

    @torch.no_grad()
    def delta(self) -> dict[str, Tensor]:
        """Return now minus then for everything that changed, on the CPU."""
        now = self.generator.state_dict()
        changes = {name: now[name] - then for name, then in self.original.items()}
        return {name: change.cpu() for name, change in changes.items() if bool(change.any())}

    @torch.no_grad()
    def settle(self) -> None:
        """Round the generator to then + delta, and mark it as tuned.

        What is measured from here on is, to the last bit, what a loaded run renders.
        """
        now = self.generator.state_dict()
        for name, then in self.original.items():
            change = now[name] - then
            now[name].copy_(then + change)
            self.generator.tuned |= bool(change.any())

    @torch.no_grad()
    def restore(self) -> None:
        """Put the generator back, to the last bit."""
        now = self.generator.state_dict()
        for name, then in self.original.items():
            now[name].copy_(then)
        self.generator.tuned = self.tuned
