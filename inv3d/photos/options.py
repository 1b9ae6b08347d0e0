"""What a user asks `3dinv prepare` for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Matting = Literal["network", "fine", "none"]


@dataclass(frozen=True)
class Options:
    """The options of `3dinv prepare`.

    Attributes:
        inputs: videos, pictures, folders of pictures.
        generator: whose crop and cameras the pictures get.
        generator_options: nested plain values.
        frames: at most that many are kept, spread evenly over the yaw.
        look_at: at most that many frames of a video are looked at.
        size: pixels a side of the pictures; the generator's if None.
        face: which face of several, 1 is the largest.
        yaw_deg: of pictures by name, or of all under "": taken instead of the estimate.
        pitch_deg: of pictures whose yaw is given.
        landmarks: file of points for pictures in which no face is found.
        masks: folder of mattes with the names of the pictures.
        matte: by the network, refined by pymatting ("fine"), or none.
        white: put the person on white; as the generator's data have it if None.
        mirror: pictures and videos are mirrored, as selfies often are: turn them back.
        keep_all: drop no frame for blur, closed eyes or being like another.
        smooth: smooth the cameras of a video over time.
        correct: correct angles by what was measured on rendered heads.
        refine: steps in which the generator refines cameras and crops; 0 leaves them.
        weights: of the generator, for refining: a file, or a name that it knows.
    """

    inputs: tuple[Path, ...]
    generator: str = "minihead"
    generator_options: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 60
    look_at: int = 600
    size: int | None = None
    face: int = 1
    yaw_deg: Mapping[str, float] = field(default_factory=dict)
    pitch_deg: float = 0.0
    landmarks: Path | None = None
    masks: Path | None = None
    matte: Matting = "network"
    white: bool | None = None
    mirror: bool = False
    keep_all: bool = False
    smooth: bool = True
    correct: bool = True
    refine: int = 0
    weights: Path | None = None
