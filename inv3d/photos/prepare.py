"""Videos and pictures in, a capture out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from inv3d.core.alignment import Alignment
from inv3d.core.camera import Camera
from inv3d.core.config import build_config
from inv3d.core.errors import InputError, UnsupportedError
from inv3d.core.files import atomic_directory, write_json, write_text
from inv3d.core.generator import Generator, load_generator
from inv3d.core.registry.discovery import registry
from inv3d.io.cameras import LABELS, write_labels, write_transforms
from inv3d.io.colmapfiles import write_colmap
from inv3d.io.images import Frame
from inv3d.io.naming import IMAGES, MASKS, PREPARED
from inv3d.nn.face.crop import camera_at, square_for
from inv3d.nn.face.model import UNCHANGED
from inv3d.nn.face.reader import FaceReader
from inv3d.nn.face.square import Square
from inv3d.nn.face.trust import MOST_DISAGREEMENT, TOO_SMALL
from inv3d.photos.bundle import share_a_face
from inv3d.photos.coverage import NOT_NEEDED, choose, warnings
from inv3d.photos.cutting import Cutter, to_levels
from inv3d.photos.drawing import misaligned, overview
from inv3d.photos.given import (
    check_inside,
    check_turn,
    for_picture,
    read_points,
    square_by_detection,
    unknown_names,
    use_angles,
    use_points,
)
from inv3d.photos.judge import judge
from inv3d.photos.options import Options
from inv3d.photos.page import page
from inv3d.photos.refine import refine
from inv3d.photos.sight import NO_FACE, Sight, look
from inv3d.photos.smooth import smoothed
from inv3d.photos.sources import Shot, Source, mirrored, open_sources

PAGE = "prepare.html"
# so many of the frames that were left out are shown
_SHOWN = 24
_MUCH_OUTSIDE = 0.1
# where a video shows no face, all ways up are searched only so often, which takes four times as lon
_TURN_EVERY = 5
# a video of more frames is searched for a face in so many of them first
_LONG, _SAMPLED, _SAMPLED_TURN = 200, 60, 3
OnProgress = Callable[[str, int, int], None]


@dataclass
class Prepared:
    """What was done.

    Attributes:
        out: the capture.
        sights: all frames that were looked at, in order.
        warnings: what the user should know.
        pictures: name -> overview, and crop where it was kept.
        outside: origin -> share of the crop that lies outside of the frame.
    """

    out: Path
    sights: list[Sight]
    warnings: list[str] = field(default_factory=list)
    pictures: dict[str, tuple[Frame, Frame | None]] = field(default_factory=dict)
    outside: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> list[Sight]:
        """The frames of the capture."""
        return [sight for sight in self.sights if sight.kept]


@torch.no_grad()
def prepare_capture(options: Options, out: Path, on_progress: OnProgress) -> Prepared:
    """Make a capture.

    Args:
        options: what is wanted.
        out: its folder, which mustn't exist.
        on_progress: told what is being done, how far it is, and how far it goes.

    Raises:
        InputError: where an input can't be read, or no frame of it can be used.
        UnsupportedError: where the generator shows no faces.
        RunError: where the folder exists or can't be written.
    """
    alignment = alignment_of(options.generator, options.generator_options)
    sources = open_sources(options.inputs, options.look_at)
    reader = FaceReader()
    with atomic_directory(out) as folder:
        sights = _look_at_all(options, sources, reader, on_progress)
        said = _settle(options, alignment, reader, sights)
        result = Prepared(out, sights, said)
        if not result.kept:
            raise _nothing(options, sources, sights)
        size = options.size or alignment.resolution
        white = alignment.white if options.white is None else options.white
        cutter = Cutter(size, options.matte, white, options.masks)
        if options.refine:
            rough = Cutter(alignment.resolution, options.matte, white, options.masks)
            _refine(options, alignment, sources, rough, result, on_progress)
        _cut_all(options, alignment, sources, cutter, result, folder, on_progress)
        result.warnings += [source.notice for source in sources if source.notice]
        result.warnings += _notices(options, alignment, result)
        _write_cameras(folder, alignment, result.kept, size)
        write_json(folder / PREPARED, _record(options, result))
        shown = page(options, alignment, sights, result.pictures, result.warnings)
        write_text(folder / PAGE, shown)
    return result


def alignment_of(name: str, options: Mapping[str, Any]) -> Alignment:
    """Return where a generator, which needn't have its weights, shows faces.

    Raises:
        UnsupportedError: where it shows none.
    """
    kind: type[Generator] = registry().load("generators", name)
    alignment = kind.alignment(build_config(kind.Config, options, f"generator {name}"))
    if alignment is None:
        raise UnsupportedError(
            f"--generator {name}: doesn't say where faces are in its pictures, so that nothing can "
            "be cropped for it; give cameras, or take minihead, eg3d or panohead"
        )
    return alignment


def _shots(options: Options, source: Source) -> Iterator[Shot]:
    return map(mirrored, source.shots()) if options.mirror else source.shots()


def _again(options: Options, source: Source, names: list[str]) -> Iterator[Shot]:
    shots = source.again(names)
    return map(mirrored, shots) if options.mirror else shots


def _look_at_all(
    options: Options, sources: list[Source], reader: FaceReader, on_progress: OnProgress
) -> list[Sight]:
    sights: list[Sight] = []
    total = sum(source.count for source in sources)
    by_hand = options.landmarks or options.yaw_deg  # frames may be used without a face found
    for number, source in enumerate(sources):
        if source.count > _LONG and not by_hand:
            sample = _look_at_some(options, source, number, reader, on_progress)
            if sample:
                sights += sample
                continue
        near: Square | None = None
        roll = 0.0
        missed = 0  # frames in a row in which the face wasn't found
        for shot in _shots(options, source):
            turn = near is None and missed % _TURN_EVERY == 0
            sight = look(reader, shot, number, rank=options.face, near=near, roll=roll, turn=turn)
            near, missed = None, missed + 1
            if sight.kept and sight.found is not None and sight.time_s is not None:
                near, roll, missed = sight.found.square, sight.found.square.roll, 0
            sights.append(sight)
            on_progress("looking", len(sights), max(total, len(sights)))
    return sights


def _look_at_some(
    options: Options, source: Source, number: int, reader: FaceReader, on_progress: OnProgress
) -> list[Sight]:
    """Look at frames that are evenly spread over a long video; none where one shows a face."""
    step = math.ceil(source.count / _SAMPLED)
    sights: list[Sight] = []
    for shot in itertools.islice(_shots(options, source), 0, None, step):
        turn = len(sights) % _SAMPLED_TURN == 0
        sight = look(reader, shot, number, rank=options.face, turn=turn)
        if sight.detection is not None:
            return []
        sights.append(sight)
        on_progress("looking for a face", len(sights), max(_SAMPLED, len(sights)))
    source.notice = (
        f"{source.label}: no face found in {len(sights)} frames spread evenly over it, so that the "
        "others weren't looked at; where a face is there for a short time, cut that part out"
    )
    return sights


def _settle(
    options: Options, alignment: Alignment, reader: FaceReader, sights: list[Sight]
) -> list[str]:
    """Settle angles and squares, and which frames are kept; return what to tell."""
    points = read_points(options.landmarks) if options.landmarks else {}
    said = unknown_names(f"--landmarks {options.landmarks}", points, sights)
    said += unknown_names("--yaw", options.yaw_deg, sights)
    for sight in sights:
        given = for_picture(points, sight)
        yaw_deg = for_picture(options.yaw_deg, sight)
        if given is not None and options.landmarks:
            check_inside(options.landmarks, sight, given)
            use_points(reader.model, sight, given)
            if yaw_deg is None:
                check_turn(options.landmarks, sight, given)
        elif sight.pose is not None and not options.correct:
            sight.yaw, sight.pitch = sight.pose.uncorrected_yaw, sight.pose.uncorrected_pitch
            sight.pose = replace(sight.pose, square=UNCHANGED)
        if yaw_deg is not None:
            use_angles(sight, yaw_deg, options.pitch_deg)
    if not options.keep_all:
        judge(sights)
    share_a_face(reader.model, sights, correct=options.correct)
    _place(alignment, reader, sights)
    if options.smooth:
        _smooth(sights)
    choose(sights, options.frames)
    return said


def _place(alignment: Alignment, reader: FaceReader, sights: list[Sight]) -> None:
    """Find the squares of all frames with a face, those that aren't kept too."""
    for sight in sights:
        if sight.found is None or sight.pose is None:
            continue
        false = sight.detection is not None and sight.pose.disagreement > MOST_DISAGREEMENT
        if sight.by_hand and false:
            sight.square = square_by_detection(reader.model, alignment, sight)
            continue
        pose = replace(sight.pose, yaw=sight.yaw, pitch=sight.pitch)
        sight.square = square_for(reader.model, alignment, sight.found, pose)


def _smooth(sights: list[Sight]) -> None:
    """Smooth angles and squares of the kept frames of every video."""
    for source in {sight.source for sight in sights}:
        row = [s for s in sights if s.source == source and s.kept and not s.by_hand and s.square]
        if len(row) < 3 or row[0].time_s is None:
            continue
        time = torch.tensor([s.time_s for s in row], dtype=torch.float64)
        values = torch.tensor(
            [
                [s.yaw, s.pitch, s.square.x, s.square.y, math.log(s.square.side), s.square.roll]
                for s in row
                if s.square
            ],
            dtype=torch.float64,
        )
        for sight, numbers in zip(row, smoothed(time, values).tolist(), strict=True):
            sight.yaw, sight.pitch, x, y, side, roll = numbers
            sight.square = Square(x, y, math.exp(side), roll)


def _refine(
    options: Options,
    alignment: Alignment,
    sources: list[Source],
    cutter: Cutter,
    result: Prepared,
    on_progress: OnProgress,
) -> None:
    """Let the generator refine angles and squares of the kept frames."""
    generator = load_generator(options.generator, options.generator_options, options.weights)
    kept = {sight.name: sight for sight in result.kept}
    images = {}
    for source in sources:
        for shot in _again(options, source, list(kept)):
            square = kept[shot.name].square
            assert square is not None
            images[shot.name] = cutter.cut(shot, square).image * 2 - 1
    angles = torch.tensor([[kept[name].yaw, kept[name].pitch] for name in images])
    moves = refine(
        generator,
        alignment,
        torch.stack(list(images.values())),
        angles,
        options.refine,
        lambda done, total: on_progress("refining", done, total),
    )
    for row, (sight, turn) in enumerate(
        zip((kept[name] for name in images), moves.angles.tolist(), strict=True)
    ):
        sight.yaw, sight.pitch = sight.yaw + turn[0], sight.pitch + turn[1]
        assert sight.square is not None
        sight.square = moves.square(row, sight.square)


def _cut_all(
    options: Options,
    alignment: Alignment,
    sources: list[Source],
    cutter: Cutter,
    result: Prepared,
    folder: Path,
    on_progress: OnProgress,
) -> None:
    """Read frames again, write those that are kept, and draw them and some of the others."""
    (folder / IMAGES).mkdir()
    others = [s for s in result.sights if not s.kept and s.sort != NOT_NEEDED]
    step = max(1, math.ceil(len(others) / _SHOWN))
    wanted = {s.name: s for s in [*result.kept, *others[::step]]}
    done = 0
    for source in sources:
        for shot in _again(options, source, list(wanted)):
            sight = wanted[shot.name]
            crop = None
            if sight.kept and sight.square is not None:
                made = cutter.cut(shot, sight.square)
                crop = to_levels(made.image)
                Image.fromarray(crop).save(folder / IMAGES / f"{sight.name}.png")
                if made.mask is not None:
                    mask = to_levels(made.mask)[..., 0]
                    (folder / MASKS).mkdir(exist_ok=True)
                    Image.fromarray(mask).save(folder / MASKS / f"{sight.name}.png")
                result.outside[sight.origin] = made.outside
            result.pictures[sight.name] = (overview(shot.pixels, sight, alignment), crop)
            done += 1
            on_progress("cutting", done, len(wanted))


def _write_cameras(folder: Path, alignment: Alignment, kept: list[Sight], size: int) -> None:
    """Write EG3D's labels beside the pictures, and the other formats into cameras/."""
    camera = cameras(alignment, kept)
    names = [f"{sight.name}.png" for sight in kept]
    write_labels(folder / LABELS, camera, names)
    others = folder / "cameras"
    paths = [f"../{IMAGES}/{name}" for name in names]
    write_transforms(others / "transforms.json", camera, paths, [(size, size)] * len(paths))
    write_colmap(others / "sparse" / "0", camera, names, size)


def cameras(alignment: Alignment, sights: list[Sight]) -> Camera:
    """Return the generator's cameras at the angles of frames."""
    yaw = torch.tensor([sight.yaw for sight in sights], dtype=torch.float64)
    pitch = torch.tensor([sight.pitch for sight in sights], dtype=torch.float64)
    return camera_at(alignment, yaw, pitch)


def _notices(options: Options, alignment: Alignment, result: Prepared) -> list[str]:
    said = list(warnings(result.sights, alignment.camera.yaw_deg))
    cut = {name: share for name, share in result.outside.items() if share > _MUCH_OUTSIDE}
    if cut:
        worst = max(cut, key=lambda name: cut[name])
        said.append(
            f"{worst}: {100 * cut[worst]:.0f} % of its crop lies outside of the picture (so in "
            f"{len(cut)} of {len(result.kept)} frames); the generator shows more around the face "
            "than there is"
        )
    return said + _which_face(options.face, result.kept)


def _which_face(wanted: int, kept: list[Sight]) -> list[str]:
    """Tell where there were several faces, and where there were fewer than were counted on."""
    said = []
    several = [sight for sight in kept if sight.faces > 1 and sight.rank]
    if several:
        first = several[0]
        which = "the largest" if first.rank == 1 else f"number {first.rank} by size"
        said.append(
            f"{first.origin}: {first.faces} faces, of which {which} was taken (so in "
            f"{len(several)} of {len(kept)} frames); '3dinv prepare ... --face N' takes another"
        )
    fewer = [sight for sight in kept if 0 < sight.rank <= sight.faces < wanted]
    if fewer:
        first = fewer[0]
        shown = f"{first.faces} face{'s' if first.faces > 1 else ''}"
        said.append(
            f"--face {wanted}: {first.origin} shows {shown}, number {first.rank} was taken (so in "
            f"{len(fewer)} of {len(kept)} frames)"
        )
    return said


def _nothing(options: Options, sources: list[Source], sights: list[Sight]) -> InputError:
    """Return the error to raise where no frame can be used."""
    given = ", ".join(map(str, options.inputs))
    first = sights[0]
    if len(sights) == 1:
        return InputError(f"--input {given}: {first.reasons[0]}; {_remedy(first)}")
    faceless = all(sight.sort == NO_FACE for sight in sights)
    if faceless and len(sources) == 1 and len(sights) < sources[0].count:
        return InputError(f"--input {sources[0].notice}")
    counts = Counter(sight.sort for sight in sights)
    listed = ", ".join(f"{count} {sort}" for sort, count in counts.most_common())
    return InputError(
        f"--input {given}: none of {len(sights)} frames can be used ({listed}); take frames with "
        "a face that is seen well"
    )


def _remedy(sight: Sight) -> str:
    if sight.sort == TOO_SMALL:
        return "take a larger picture"
    if sight.detection is None:
        given = "'3dinv prepare ... --landmarks FILE'"
        return f"take one that shows a face, or give its points with {given}"
    return "give its angle with '3dinv prepare ... --yaw DEGREES', or take another picture"


def _record(options: Options, result: Prepared) -> dict[str, Any]:
    """What was done, for other programs."""
    return {
        "inputs": [str(path) for path in options.inputs],
        "generator": options.generator,
        "warnings": result.warnings,
        "frames": [_frame(sight) for sight in result.sights],
    }


def _frame(sight: Sight) -> dict[str, Any]:
    pose, square = sight.pose, sight.square
    return {
        "name": sight.name,
        "origin": sight.origin,
        "time_s": sight.time_s,
        "kept": sight.kept,
        "reasons": sight.reasons,
        "faces": sight.faces,
        "rank": sight.rank,
        "yaw_deg": math.degrees(sight.yaw),
        "pitch_deg": math.degrees(sight.pitch),
        "uncorrected_yaw_deg": math.degrees(pose.uncorrected_yaw) if pose else None,
        "error": pose.error if pose else None,
        "disagreement": pose.disagreement if pose else None,
        "by_hand": sight.by_hand,
        "square": vars(square) if square else None,
        "not_aligned_because": misaligned(sight),
    }
