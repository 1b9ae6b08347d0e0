"""The page that shows what was found, kept and left out: one file, nothing fetched, no script."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inv3d.core.alignment import Alignment
from inv3d.io.images import Frame
from inv3d.photos.drawing import misaligned
from inv3d.photos.options import Options
from inv3d.photos.sight import Sight
from inv3d.report.plots import coverage_plot, inline_svg
from inv3d.report.templating import render_template


@dataclass(frozen=True)
class Card:
    """A frame on the page."""

    name: str
    origin: str
    overview: Frame
    crop: Frame | None
    yaw_deg: float
    pitch_deg: float
    uncorrected_deg: float
    error: float
    disagreement: float
    reasons: Sequence[str]
    misaligned: Sequence[str]


def page(
    options: Options,
    alignment: Alignment,
    sights: Sequence[Sight],
    pictures: Mapping[str, tuple[Frame, Frame | None]],
    warnings: Sequence[str],
) -> str:
    """Return the page.

    Args:
        options: what was asked for.
        alignment: of the generator.
        sights: all frames.
        pictures: name -> overview, and crop where it was kept.
        warnings: sentences.
    """
    cards = [_card(sight, *pictures[sight.name]) for sight in sights if sight.name in pictures]
    kept = [sight for sight in sights if sight.kept]
    yaws = [math.degrees(sight.yaw) for sight in kept]
    left = [math.degrees(s.yaw) for s in sights if not s.kept and not math.isnan(s.yaw)]
    plot = coverage_plot(yaws, left, alignment.camera.yaw_deg)
    facts = {
        "input": ", ".join(path.name for path in options.inputs),
        "generator": options.generator,
        "frames": f"{len(kept)} kept of {len(sights)} looked at",
        "yaw": f"{min(yaws):+.0f} to {max(yaws):+.0f} degrees",
        "matte": options.matte,
    }
    if options.refine:
        facts["cameras"] = f"refined by {options.generator} in {options.refine} steps"
    return render_template(
        "prepare.html",
        facts=facts,
        warnings=warnings,
        generator=options.generator,
        plot=inline_svg(plot, "Yaw of the frames"),
        kept=[card for card in cards if not card.reasons],
        left=[card for card in cards if card.reasons],
        counts=Counter(s.sort for s in sights if not s.kept).most_common(),
    )


def _card(sight: Sight, overview: Frame, crop: Frame | None) -> Card:
    pose = sight.pose
    return Card(
        sight.name,
        sight.origin,
        overview,
        crop,
        math.degrees(sight.yaw),
        math.degrees(sight.pitch),
        math.degrees(pose.uncorrected_yaw) if pose else math.nan,
        pose.error if pose else math.nan,
        pose.disagreement if pose else math.nan,
        tuple(sight.reasons),
        tuple(misaligned(sight)),
    )
