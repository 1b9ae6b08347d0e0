"""What a generator makes: a Scene (view-independent) and a Rendering (what cameras see of it)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

OutputName = Literal["image", "raw", "depth", "mask", "features"]
OUTPUTS: tuple[OutputName, ...] = ("image", "raw", "depth", "mask", "features")


@dataclass(frozen=True)
class Scene:
    """A batch of B three-dimensional scenes, in whatever form their generator uses.

    Scenes add, subtract, scale and blend part by part; `ws` follows the left operand, since it
    conditions the rendering (super-resolution) and isn't part of the volume. The right operand, a
    scene or named tensors [1 or B, ...], may have some of the parts only, such as an offset of the
    planes alone: the others stay as they are. A part that the scene lacks is a ValueError.

    Example:
        >>> import inv3d, torch
        >>> scene = inv3d.Scene({"planes": torch.zeros(1, 3, 8, 4, 4)}, ws=torch.zeros(1, 14, 512))
        >>> float((scene + {"planes": torch.ones(1, 3, 8, 4, 4)}).parts["planes"].mean())
        1.0

    Attributes:
        parts: name -> [B, ...]; tri-planes are {"planes": [B, 3, C, H, W]}.
        ws: [B, num_ws, w_dim], the latents that the scenes were made from.
    """

    parts: Mapping[str, Tensor]
    ws: Tensor

    def __len__(self) -> int:
        return int(self.ws.shape[0])

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Scene:
        return self.apply(lambda tensor: tensor[index])

    def __add__(self, other: Scene | Mapping[str, Tensor]) -> Scene:
        return self._combine(other, torch.add)

    def __sub__(self, other: Scene | Mapping[str, Tensor]) -> Scene:
        return self._combine(other, torch.sub)

    def __mul__(self, factor: float) -> Scene:
        return Scene({name: part * factor for name, part in self.parts.items()}, self.ws)

    def _combine(
        self, other: Scene | Mapping[str, Tensor], operation: Callable[[Tensor, Tensor], Tensor]
    ) -> Scene:
        others = other.parts if isinstance(other, Scene) else other
        self._refuse_unknown(others)
        combined = {name: operation(self.parts[name], part) for name, part in others.items()}
        return Scene({**self.parts, **combined}, self.ws)

    def _refuse_unknown(self, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(self.parts))
        if unknown:
            raise ValueError(
                f"the scene has no part '{unknown[0]}'; its parts are {', '.join(self.parts)}"
            )

    def apply(self, function: Callable[[Tensor], Tensor]) -> Scene:
        """Return the scene with a function applied to every tensor, latents included."""
        return Scene({name: function(part) for name, part in self.parts.items()}, function(self.ws))

    def expand(self, count: int) -> Scene:
        """Return a single scene as a batch of `count` without copying."""
        return self.apply(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def tensors(self) -> list[Tensor]:
        """Every tensor of the scene in a fixed order, latents last."""
        return [*(self.parts[name] for name in sorted(self.parts)), self.ws]

    @staticmethod
    def where(mask: Mapping[str, Tensor], first: Scene, second: Scene) -> Scene:
        """Blend two scenes: `first` where the mask is 1, `second` where it's 0.

        Args:
            mask: part name -> weights that broadcast to the part, in [0, 1]; parts that it doesn't
                name are those of `first`.
            first: B scenes.
            second: B scenes.

        Raises:
            ValueError: where a scene lacks a part that the mask names.
        """
        first._refuse_unknown(mask)
        second._refuse_unknown(mask)
        blended = {n: torch.lerp(second.parts[n], first.parts[n], m) for n, m in mask.items()}
        return Scene({**first.parts, **blended}, first.ws)


@dataclass(frozen=True)
class Rendering:
    """What N cameras see. Fields that weren't asked for are None.

    Attributes:
        image: [N, 3, H, W] in [-1, 1].
        raw: [N, 3, h, w] in [-1, 1], before super-resolution.
        depth: [N, 1, h, w], expected distance along the unit ray, world units.
        mask: [N, 1, h, w], opacity in [0, 1].
        features: [N, C, h, w], what the super-resolution reads.
        ws: [N, num_ws, w_dim], the latent behind every view.
    """

    image: Tensor | None = None
    raw: Tensor | None = None
    depth: Tensor | None = None
    mask: Tensor | None = None
    features: Tensor | None = None
    ws: Tensor | None = None

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> Rendering:
        return Rendering(**{name: value[index] for name, value in self._items()})

    def split(self, counts: Sequence[int]) -> list[Rendering]:
        """Part the renderings of consecutive cameras, so many a part."""
        ends = [sum(counts[: index + 1]) for index in range(len(counts))]
        return [self[end - count : end] for count, end in zip(counts, ends, strict=True)]

    def _items(self) -> list[tuple[str, Tensor]]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return [(name, value) for name, value in values if value is not None]

    @staticmethod
    def cat(renderings: Sequence[Rendering]) -> Rendering:
        """Join renderings of consecutive cameras."""
        if len(renderings) == 1:
            return renderings[0]
        names = [name for name, _ in renderings[0]._items()]
        return Rendering(
            **{name: torch.cat([getattr(r, name) for r in renderings]) for name in names}
        )

    def require(self, name: OutputName) -> Tensor:
        """Return a field that must be there.

        Raises:
            ValueError: if it wasn't rendered.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"the rendering has no {name}: ask for it in outputs=(...)")
        return value  # type: ignore[no-any-return]

    def latent(self) -> Tensor:
        """Return the latent behind every view, [N, num_ws, w_dim].

        Raises:
            ValueError: where the generator left it out.
        """
        if self.ws is None:
            raise ValueError("the rendering has no ws: its generator must hand on the scene's")
        return self.ws
