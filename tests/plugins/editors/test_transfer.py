"""Transfer: regions by boxes and masks, what is blended, several latents, encoding again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inv3d.core.editor import Subject
from inv3d.core.errors import ConfigError, InputError, InvError
from inv3d.core.generator import Generator, load_generator
from inv3d.core.inversion import Inversion
from inv3d.core.scene import Scene
from inv3d.plugins.editors.transfer import Transfer
from inv3d.plugins.editors.transfer.region import (
    box_looks,
    either,
    influence,
    mask_looks,
    region_mask,
)
from tests.plugins.editors.subjects import edit_of, subject_of, toy
from tests.toy_runs import toy_registered

EVERYWHERE = (-0.6, -0.6, -0.6, 0.6, 0.6, 0.6)


def editor() -> Transfer:
    return Transfer(Transfer.Config())


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def small() -> Generator:
    return load_generator("minihead", {"render_resolution": 16, "samples": 8})


def heads(generator: Generator, latents: int = 1, pair: int = 0) -> Subject:
    """Return one of two random heads, with the other one as its partner."""
    z = torch.randn(2, generator.spec.z_dim, generator=rng(pair))
    ws = generator.map(z)
    views = generator.spec.camera.orbit(torch.linspace(0.5, -0.5, latents))
    own, other = (
        Inversion(w[None].repeat(n, 1, 1), camera, "minihead", generator.spec.fingerprint)
        for w, n, camera in ((ws[0], latents, views), (ws[1], 1, generator.spec.camera.front()))
    )
    return Subject(generator, own, partners=(Subject(generator, other),))


def picture(path: Path, rows: slice, size: int = 128) -> Path:
    """Write a mask that is white in some rows."""
    levels = np.zeros((size, size), np.uint8)
    levels[rows] = 255
    Image.fromarray(levels).save(path)
    return path


def frontal(subject: Subject, inversion: Inversion) -> Tensor:
    camera = subject.generator.spec.camera.front()
    with torch.no_grad():
        scene = inversion.scene_for(subject.generator, camera)
        return subject.generator.render(scene, camera).require("image")


def test_a_box_finds_the_texels_of_its_points(small: Generator) -> None:
    subject = heads(small)
    with torch.no_grad():
        scene = small.synthesize(subject.inversion.ws)
    upper = (-0.3, 0.05, -0.3, 0.3, 0.35, 0.3)
    found = influence(scene, box_looks(small, upper, 12), 2, rng())["planes"]
    assert found.shape == (1, 3, 1, 2, 128, 128)
    # of the plane of x and y, only the half that is above the middle
    halves = [found[0, 0, 0, :, :60].sum(), found[0, 0, 0, :, 68:].sum()]
    assert min(halves) == 0 and max(halves) > 0


@pytest.mark.parametrize(("shape", "channels"), [((3,), 1), ((2, 3), 2), ((2, 3, 4), 2)])
def test_influence_is_over_channels_of_maps_planes_and_grids(
    shape: tuple[int, ...], channels: int
) -> None:
    part = torch.randn(1, *shape, 8, 8, generator=rng())
    scene = Scene({"planes": part}, torch.zeros(1, 1, 1))
    found = influence(scene, lambda s: [s.parts["planes"][..., :3, :] * 2.0], 3, rng())["planes"]
    wanted = [1 if i == channels else n for i, n in enumerate(part.shape)]
    assert list(found.shape) == wanted
    assert bool((found[..., :3, :] == 2).all()) and not found[..., 3:, :].any()


def test_a_mask_finds_what_its_camera_sees_there(small: Generator, tmp_path: Path) -> None:
    subject = heads(small)
    with torch.no_grad():
        scene = small.synthesize(subject.inversion.ws)
    camera = small.spec.camera.front()
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., :40, :] = 1
    looks = mask_looks(small, mask, camera)
    found = influence(scene, looks, 2, rng())["planes"][0, 0, 0].sum(0)
    rows = found.sum(1) / found.sum()
    centre = float((rows * torch.arange(128)).sum())
    mask = mask.flip(2)
    below = influence(scene, mask_looks(small, mask, camera), 2, rng())["planes"][0, 0, 0].sum(0)
    other = float((below.sum(1) / below.sum() * torch.arange(128)).sum())
    assert abs(centre - other) > 30


@pytest.mark.parametrize("feather", [1, 5])
def test_weights_fade_at_the_edge(feather: int) -> None:
    values = torch.zeros(1, 1, 16, 16)
    values[..., 4:12, 4:12] = 1.0
    found = region_mask({"planes": values}, 0.1, feather, "x")["planes"]
    assert float(found[0, 0, 8, 8]) == 1 and float(found[0, 0, 0, 0]) == 0
    soft = int(((found > 0) & (found < 1)).sum())
    assert (soft > 0) == (feather > 1)


def test_a_lower_threshold_takes_more() -> None:
    values = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    shares = [
        float(region_mask({"x": values}, threshold, 1, "x")["x"].mean())
        for threshold in (0.1, 0.5, 1.0)
    ]
    assert shares == sorted(shares, reverse=True)


def test_either_takes_the_larger_weight() -> None:
    found = either(
        {"a": torch.tensor([0.2, 0.9])}, {"a": torch.tensor([0.5, 0.1]), "b": torch.ones(1)}
    )
    assert torch.equal(found["a"], torch.tensor([0.5, 0.9])) and float(found["b"]) == 1


def test_all_of_the_box_is_the_other_head(small: Generator) -> None:
    subject = heads(small)
    other = frontal(subject, subject.partners[0].inversion)
    box = edit_of(
        editor(), box=(-0.4, -0.4, -0.4, 0.4, 0.4, 0.4), threshold=0.001, feather=1, grid=64
    )
    found = editor().apply(subject, box)
    assert torch.equal(found.ws, subject.inversion.ws)
    mine = frontal(subject, subject.inversion)
    error, before = (float((a - other).abs().mean()) for a in (frontal(subject, found), mine))
    # super-resolution is conditioned on this head's latent, and so is not the other's
    assert error < 0.35 * before


@pytest.mark.parametrize(("of", "latents"), [("both", 2), ("this", 1), ("other", 1)])
def test_a_masked_region_changes_and_the_rest_hardly(
    small: Generator, tmp_path: Path, of: str, latents: int
) -> None:
    mask = picture(tmp_path / "mask.png", slice(0, 40))
    inside = outside = 0.0
    for pair in range(4):  # how much two heads differ in places is theirs
        subject = heads(small, latents, pair)
        found = editor().apply(subject, edit_of(editor(), mask=str(mask), of=of, probes=1))
        assert found.offset["planes"].shape[0] == latents
        change = (frontal(subject, found) - frontal(subject, subject.inversion)).abs().mean(1)[0]
        inside, outside = inside + float(change[10:40].mean()), outside + float(change[80:].mean())
    assert inside > 3 * outside


def test_strength_is_a_share(small: Generator, tmp_path: Path) -> None:
    subject = heads(small)
    mask = str(picture(tmp_path / "mask.png", slice(0, 40)))
    whole, half, none = (
        editor()
        .apply(subject, edit_of(editor(), mask=mask, strength=s, probes=1, of="this"))
        .offset["planes"]
        for s in (1.0, 0.5, 0.0)
    )
    assert torch.allclose(half, whole / 2, atol=1e-5) and float(none.abs().max()) < 1e-6


def test_the_region_can_be_seen_from_the_side(small: Generator, tmp_path: Path) -> None:
    subject = heads(small)
    mask = str(picture(tmp_path / "mask.png", slice(0, 40)))
    front, side, above = (
        editor()
        .apply(subject, edit_of(editor(), mask=mask, probes=1, of="this", **angle))
        .offset["planes"]
        for angle in ({}, {"yaw_deg": 60.0}, {"pitch_deg": 25.0})
    )
    assert not torch.allclose(front, side) and not torch.allclose(front, above)


def test_generators_of_any_parts_will_do() -> None:
    generator = toy()
    subject = subject_of(generator, partners=(subject_of(generator, seed=7),))
    found = editor().apply(subject, edit_of(editor(), box=EVERYWHERE, threshold=0.01, grid=12))
    camera = generator.spec.camera.front()
    with torch.no_grad():
        scenes = [
            i.scene_for(generator, camera).parts["centres"]
            for i in (found, subject.inversion, subject.partners[0].inversion)
        ]
    reached = (scenes[0] - scenes[2]).norm() / (scenes[1] - scenes[2]).norm()
    assert float(reached) < 0.3


def test_the_own_offset_is_part_of_the_scene() -> None:
    generator = toy()
    offset = {"looks": torch.randn(1, 8, 5, generator=rng())}
    subject = subject_of(generator, offset=offset, partners=(subject_of(generator, seed=7),))
    found = editor().apply(subject, edit_of(editor(), box=EVERYWHERE, strength=0.0, grid=8))
    assert torch.allclose(found.offset["looks"], offset["looks"], atol=1e-5)


def test_frames_that_share_a_camera_keep_their_latents() -> None:
    generator = toy()
    camera = generator.spec.camera.front().repeat_interleave(3)
    video = {"cameras": camera, "blend": "frame", "frames": ("a", "b", "c")}
    subject, partner = (
        replace(s, inversion=replace(s.inversion, **video))
        for s in (subject_of(generator, 3), subject_of(generator, 3, seed=7))
    )
    subject = replace(subject, partners=(partner,))
    still = editor().apply(subject, edit_of(editor(), box=EVERYWHERE, strength=0.0, grid=8))
    assert all(float(part.abs().max()) < 1e-5 for part in still.offset.values())

    whole = edit_of(editor(), box=EVERYWHERE, threshold=0.01, grid=12)
    found = editor().apply(subject, whole).scene_for(generator, camera, ("a", "b", "c"))
    theirs = partner.inversion.scene_for(generator, camera, ("a", "b", "c"))
    mine = subject.inversion.scene_for(generator, camera, ("a", "b", "c"))
    left, apart = (
        (scene.parts["centres"] - theirs.parts["centres"]).flatten(1).norm(dim=1)
        for scene in (found, mine)
    )
    assert bool((left < 0.3 * apart).all())


def test_colours_of_a_tuned_partner_are_doubted() -> None:
    generator = toy()
    partner = subject_of(generator, seed=7, generator_delta={"background": torch.zeros(3)})
    subject = subject_of(generator, partners=(partner,))
    with pytest.warns(UserWarning, match="the other run tuned its generator"):
        editor().apply(subject, edit_of(editor(), box=EVERYWHERE, grid=8))


def test_the_result_can_be_inverted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = toy()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    subject = subject_of(generator, partners=(subject_of(generator, seed=7),))
    quick = {"latent": {"steps": 3, "samples": 50}, "tuning": {"steps": 2}}
    for method, tuned in (("wplus", False), ("pti", True)):
        options: dict[str, Any] = quick if tuned else {"latent": quick["latent"]}
        edit = edit_of(
            editor(), box=EVERYWHERE, grid=8, reencode=method, reencode_views=2,
            reencode_options=options,
        )  # fmt: skip
        with toy_registered(monkeypatch):
            found = editor().apply(subject, edit)
        assert not found.offset and len(found.ws) == 1
        assert bool(found.generator_delta) == tuned
        assert [made.name for made in found.history] == ["multilatent", "transfer"]
        assert all(torch.equal(generator.state_dict()[n], v) for n, v in before.items())


def _fails(error: type[InvError], said: str, call: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give the region as box or as mask"),
        ({"box": EVERYWHERE, "mask": "x.png"}, "give the region as box or as mask"),
        ({"box": (0, 0, 0, 1, 1, 0)}, "a lowest number isn't below"),
        ({"box": (0, 0, 1, 1)}, "box"),
        ({"box": EVERYWHERE, "feather": 4}, "feather 4: expected an odd number"),
        ({"box": EVERYWHERE, "strength": 1.5}, "strength"),
        ({"box": EVERYWHERE, "of": "none"}, "of"),
    ],
)
def test_impossible_regions_are_refused(options: dict[str, Any], said: str) -> None:
    _fails(ConfigError, said, lambda: edit_of(editor(), **options))


def test_empty_regions_are_refused(small: Generator, tmp_path: Path) -> None:
    subject, apply = heads(small), editor().apply
    black = str(picture(tmp_path / "black.png", slice(0, 0)))
    _fails(
        InputError, r"black\.png: the mask is black all over",
        lambda: apply(subject, edit_of(editor(), mask=black)),
    )  # fmt: skip
    missing = edit_of(editor(), mask=str(tmp_path / "none.png"))
    _fails(InputError, r"none\.png: can't be read", lambda: apply(subject, missing))
    far = edit_of(editor(), box=(5, 5, 5, 6, 6, 6))
    _fails(InputError, "'box' .* nothing of the scene lies there", lambda: apply(subject, far))
