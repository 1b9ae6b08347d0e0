"""Style mixing: some layers of another run's latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from inv3d.core.config import PluginConfig
from inv3d.core.editor import Directions, Editor, Subject
from inv3d.core.inversion import Inversion
from inv3d.core.moves import LayerRange


class StyleMixEdit(LayerRange):
    """One edit."""

    strength: float = Field(
        1.0, ge=0, le=1, description="share of the other run's latents in these layers"
    )


class StyleMix(Editor[PluginConfig, StyleMixEdit]):
    """Some layers of another head's latents: early ones are shape, late ones colour."""

    name = "stylemix"
    summary = "layers of another run's latents, such as its colours"
    licence = "Apache-2.0"
    reference = "Karras et al., StyleGAN, CVPR 2019, section 3.1"
    Edit = StyleMixEdit
    needs_directions: ClassVar[bool] = False
    partners = (1, 1)
    strengths: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def apply(
        self,
        subject: Subject,
        edit: StyleMixEdit,
        directions: Directions | None = None,
        others: Sequence[Directions] = (),
    ) -> Inversion:
        """Put the other run's latents for each latent's camera into the layers."""
        own = subject.inversion
        target = subject.partners[0].inversion.ws_for(own.cameras, own.frames).to(own.ws)
        layers = edit.layers(own.ws, "editor stylemix")
        ws = own.ws.clone()
        ws[:, layers] = torch.lerp(own.ws[:, layers], target[:, layers], edit.strength)
        return self.edited(subject, edit, ws=ws)
