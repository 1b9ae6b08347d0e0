"""Inversion: the one result format, a directory of safetensors and JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import RunError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.latent import interpolate_by_angle
from inv3d.core.scene import Scene
from inv3d.core.weights.tensors import read_tensors, write_tensors

FILE = "inversion.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Inversion:
    """A head that was found: latents, their cameras and what changed in the generator.

    Attributes:
        ws: [M, num_ws, w_dim]; M > 1 for methods that give every camera its own latent.
        cameras: M cameras, those that the latents belong to.
        method: name of the method that made it.
        generator: name of the generator plugin.
        fingerprint: of the generator's architecture and weights before tuning.
        generator_delta: parameter name -> tuned minus original; empty if nothing was tuned.
        scene_offset: part name -> [1, ...], added to every scene; empty for none.
        config: the method's resolved options.
    """

    ws: Tensor
    cameras: Camera
    method: str
    generator: str
    fingerprint: str
    generator_delta: Mapping[str, Tensor] = field(default_factory=dict)
    scene_offset: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def ws_for(self, camera: Camera) -> Tensor:
        """Return a latent for each of N cameras, [N, num_ws, w_dim].

        With several latents: linear between the two whose cameras bracket the yaw
        (multi-view inversion paper, section 3.2).
        """
        angles, query = self.cameras.yaw.to(self.ws), camera.yaw.to(self.ws)
        return interpolate_by_angle(self.ws, angles, query)

    def scene_for(self, generator: Generator, camera: Camera) -> Scene:
        """Return the scenes that cameras see: one if there's one latent, else one a camera."""
        like = next(generator.parameters())
        ws = self.ws if len(self.ws) == 1 else self.ws_for(camera)
        scene = generator.synthesize(ws.to(like))
        if not self.scene_offset:
            return scene
        offset = {name: part.to(like) for name, part in self.scene_offset.items()}
        return scene + Scene(offset, scene.ws)

    def check(self, generator: Generator) -> None:
        """Refuse another generator than the one that this inversion was made with.

        Raises:
            WeightsError: where architecture or weights differ.
        """
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
        """
        self.check(generator)
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

    @contextlib.contextmanager
    def tuned(self, generator: Generator) -> Iterator[Generator]:
        """Give the tuned generator for a while; afterwards it's as it was, to the last bit."""
        before = Snapshot(generator)
        self.tune(generator)
        try:
            yield generator
        finally:
            before.restore()

    def save(self, directory: Path) -> None:
        """Write `inversion.safetensors` into a directory."""
        tensors = {"ws": self.ws, "cameras": self.cameras.labels()}
        tensors |= {f"delta/{name}": value for name, value in self.generator_delta.items()}
        tensors |= {f"offset/{name}": value for name, value in self.scene_offset.items()}
        metadata = {
            "format": FORMAT,
            "method": self.method,
            "generator": self.generator,
            "fingerprint": self.fingerprint,
            "config": dict(self.config),
        }
        write_tensors(Path(directory) / FILE, tensors, metadata)

    @staticmethod
    def load(directory: Path) -> Inversion:
        """Read a run directory.

        Raises:
            RunError: where the directory holds no finished inversion, or one of a newer format.
            WeightsError: where the file is damaged.
        """
        path = Path(directory) / FILE
        if not path.is_file():
            raise RunError(f"{directory}: no {FILE}; give the directory of a finished run")
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT or not {"ws", "cameras"} <= set(tensors):
            raise RunError(
                f"{path}: format {metadata.get('format')}, expected {FORMAT}; "
                "read it with the version of 3dinv that wrote it"
            )
        return Inversion(
            ws=tensors["ws"],
            cameras=Camera.from_labels(tensors["cameras"]),
            method=metadata["method"],
            generator=metadata["generator"],
            fingerprint=metadata["fingerprint"],
            generator_delta=_part(tensors, "delta/"),
            scene_offset=_part(tensors, "offset/"),
            config=metadata["config"],
        )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


class Snapshot:
    """A generator's weights and buffers as they are now, to tell later what has changed."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
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
        """Round the generator to then + delta.

        What is measured from here on is, to the last bit, what a loaded run renders.
        """
        now = self.generator.state_dict()
        for name, then in self.original.items():
            now[name].copy_(then + (now[name] - then))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the generator back, to the last bit."""
        now = self.generator.state_dict()
        for name, then in self.original.items():
            now[name].copy_(then)
