"""The editor."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.capture import Capture
from inv3d.core.config import PluginConfig
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.fit.context import Context
from inv3d.core.inversion import Inversion, Snapshot
from inv3d.core.inverter import load_method
from inv3d.core.scene import Scene
from inv3d.io.pictures import read_mask
from inv3d.plugins.editors.transfer.config import TransferEdit
from inv3d.plugins.editors.transfer.region import (
    Looks,
    box_looks,
    either,
    influence,
    mask_looks,
    region_mask,
)

_WIDEST = 60.0


class Transfer(Editor[PluginConfig, TransferEdit]):
    """A region of another head in this one, such as its hair."""

    name = "transfer"
    summary = "a region of another run's scene, such as its hair, in this one"
    licence = "Apache-2.0"
    reference = "Dual Encoder GAN Inversion, NeurIPS 2024, section 5.3"
    Edit = TransferEdit
    needs_directions: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    partners = (1, 1)
    strengths: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def apply(
        self,
        subject: Subject,
        edit: TransferEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Blend the other scene into this one within the region; latents stay."""
        mask = self._mask(subject, edit)
        own = subject.inversion
        if subject.partners[0].inversion.generator_delta:
            warnings.warn(
                "the other run tuned its generator, and its region is shown by this run's: colours "
                "may differ",
                stacklevel=2,
            )
        rows = [
            self._blended(replace(subject, inversion=_only(own, i)), mask)
            for i in range(len(own.ws))
        ]
        offset = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        blended = self.edited(subject, edit, offset=offset)
        return self._again(subject, edit, blended) if edit.reencode else blended

    def _mask(self, subject: Subject, edit: TransferEdit) -> dict[str, Tensor]:
        """Return the weights of the other scene, part by part."""
        prior = subject.generator.spec.camera
        angles = (torch.tensor([angle]).deg2rad() for angle in (edit.yaw_deg, edit.pitch_deg))
        camera = prior.orbit(*angles) if edit.mask else prior.front()
        looks, what = self._looks(subject, edit, camera)
        which = {"both": (0, 1), "this": (0,), "other": (1,)}[edit.of]
        scenes = [_scenes(subject, camera)[i] for i in which]
        rng = torch.Generator().manual_seed(edit.seed)
        masks = [
            region_mask(influence(s, looks, edit.probes, rng), edit.threshold, edit.feather, what)
            for s in scenes
        ]
        found = masks[0] if len(masks) == 1 else either(*masks)
        return {name: edit.strength * weight for name, weight in found.items()}

    def _looks(self, subject: Subject, edit: TransferEdit, camera: Camera) -> tuple[Looks, str]:
        generator = subject.generator
        if edit.mask is not None:
            generator.require(("image",), "editor transfer")
            mask = read_mask(edit.mask, generator.spec.resolution)
            return mask_looks(generator, mask, camera), str(edit.mask)
        assert edit.box is not None
        what = f"option 'box' of editor transfer: {', '.join(f'{v:g}' for v in edit.box)}"
        return box_looks(generator, edit.box, edit.grid), what

    @torch.no_grad()
    def _blended(self, subject: Subject, mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is added to the scene of a subject of one latent."""
        own = subject.inversion
        mine, theirs = _scenes(subject, own.cameras, own.frames)
        whole = Scene.where(mask, theirs, mine)
        plain = subject.generator.synthesize(own.ws.to(mine.ws))
        changed = {*mask, *own.offset}
        return {
            name: (whole.parts[name] - plain.parts[name]).float().cpu() for name in sorted(changed)
        }

    def _again(self, subject: Subject, edit: TransferEdit, blended: Inversion) -> Inversion:
        """Invert pictures of the result once more."""
        assert edit.reencode is not None
        generator, prior = subject.generator, subject.generator.spec.camera
        reach = min(prior.yaw_deg, _WIDEST)
        count = edit.reencode_views
        yaws = torch.linspace(reach, -reach, count) if count > 1 else torch.zeros(1)
        camera = prior.orbit(yaws.deg2rad())
        with torch.no_grad():
            shown = camera.to(generator.device)
            scene = blended.scene_for(generator, shown)
            image = generator.render(scene, shown).require("image").float().cpu()
        names = tuple(f"view{i}.png" for i in range(count))
        capture = Capture(image, camera, names, source="the edited head")
        context = Context.create(generator.device, edit.seed)
        method = load_method(edit.reencode, edit.reencode_options, generator)
        before = Snapshot(generator)
        generator.tuned = False
        try:
            found = method.invert(generator, capture, context)
            delta = _sum(subject.inversion.generator_delta, before.delta())
        finally:
            before.restore()
        return self.edited(
            subject,
            edit,
            ws=found.ws,
            cameras=found.cameras,
            blend=found.blend,
            frames=found.frames,
            offset=found.offset,
            generator_delta=delta,
        )


def _only(inversion: Inversion, row: int) -> Inversion:
    """Return one of the latents, with its camera, frame and offset."""
    offset = {n: part if len(part) == 1 else part[[row]] for n, part in inversion.offset.items()}
    return replace(
        inversion,
        ws=inversion.ws[[row]],
        cameras=inversion.cameras[[row]],
        frames=inversion.frames[row : row + 1],
        offset=offset,
    )


@torch.no_grad()
def _scenes(subject: Subject, camera: Camera, frames: Sequence[str] = ()) -> tuple[Scene, Scene]:
    """Return what one camera sees of this run and of the other, each by its own network."""
    other = subject.partners[0]
    device = subject.generator.device
    mine, theirs = (
        s.inversion.scene_for(s.generator, camera, frames).apply(lambda t: t.to(device))
        for s in (subject, other)
    )
    return mine, theirs


def _sum(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Add named changes; the first ones themselves where there are no second ones."""
    if not second:
        return first
    return {**first, **second, **{n: first[n] + second[n] for n in first if n in second}}
