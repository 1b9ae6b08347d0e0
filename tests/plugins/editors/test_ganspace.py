"""GANSpace: golden bases and edits, fits, imports, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.editor import Directions, Subject, load_editor
from inv3d.core.errors import ConfigError, InputError, InvError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.generator import load_generator
from inv3d.core.inversion import Inversion
from inv3d.plugins.editors.ganspace import GANSpace
from inv3d.plugins.editors.ganspace.basis import (
    Basis,
    even_chunks,
    exact,
    incremental,
    independent,
    randomised,
    signed,
    sparse,
)
from inv3d.plugins.editors.ganspace.config import GANSpaceConfig, GANSpaceEdit
from inv3d.plugins.editors.ganspace.editor import moved_along
from tests.golden_cases import GoldenCase
from tests.plugins.editors.subjects import LAYERS, W_DIM, edit_of, fitted, subject_of, toy

SMALL = {"samples": 4000, "components": 6}


def editor(**options: Any) -> GANSpace:
    return GANSpace(GANSpaceConfig(**{**SMALL, **options}))


@pytest.fixture(scope="module")
def directions() -> Directions:
    return fitted(editor(), toy())[0]


def last(steps: Any) -> Basis:
    *_, basis = steps
    assert isinstance(basis, Basis)
    return basis


@pytest.mark.parametrize(("name", "fit"), [("pca", exact), ("ipca", incremental)])
def test_bases_are_those_of_the_official_estimators(name: str, fit: Any) -> None:
    case = GoldenCase("ganspace_pca").tensors
    count = len(case[f"{name}_components"])
    found = last(fit(case["samples"].split(1000), count))
    cosines = (found.components * case[f"{name}_components"]).sum(1)
    assert float(cosines.min()) > 0.99999
    assert torch.allclose(
        found.deviations.double(), case[f"{name}_stdev"].double(), rtol=1e-5, atol=0
    )
    assert found.shares is not None
    ratios = case[f"{name}_var_ratio"].double()
    assert torch.allclose(found.shares.double(), ratios, rtol=1e-5, atol=0)
    if name == "ipca":
        assert torch.allclose(found.mean.double(), case["ipca_mean"].double(), atol=1e-6)


def test_the_exact_basis_does_not_depend_on_chunks_or_where_the_mean_is() -> None:
    samples = GoldenCase("ganspace_pca").tensors["samples"] + 100
    whole, parts = last(exact([samples], 12)), last(exact(samples.split(170), 12))
    assert torch.allclose(whole.components, parts.components, atol=1e-4)
    exact_stdev = GoldenCase("ganspace_pca").tensors["exact_stdev"]
    ratio = (len(samples) / (len(samples) - 1)) ** 0.5
    assert torch.allclose(parts.deviations * ratio, exact_stdev.float(), rtol=1e-4)


def test_the_largest_entry_of_a_component_is_positive() -> None:
    rows = torch.tensor([[0.1, -0.9], [0.8, -0.2]])
    assert torch.equal(signed(rows), torch.tensor([[-0.1, 0.9], [0.8, -0.2]]))


@pytest.mark.parametrize("samples", [1, 7, 2000, 4999])
def test_chunks_are_even_and_none_is_lost(samples: int) -> None:
    sizes = even_chunks(samples, 1000)
    assert sum(sizes) == samples and max(sizes) - min(sizes) <= 1 and max(sizes) < 1500
    enough = even_chunks(samples, 1000, 1000)
    assert sum(enough) == samples and (min(enough) >= 1000 or len(enough) == 1)


def test_every_chunk_has_as_many_samples_as_components() -> None:
    """The incremental estimator takes no fewer."""
    given = {"samples": 12, "components": 8, "chunk": 8}
    found, _ = fitted(load_editor("ganspace", given), toy())
    assert found.tensor("components").shape == (8, W_DIM)
    with pytest.raises(ConfigError, match="fresh"):
        load_editor("ganspace", {"fresh": 1})


@pytest.mark.filterwarnings("ignore:x. the latent ends")
def test_moving_to_a_strength_is_that_of_pti() -> None:
    golden = GoldenCase("pti_edits")
    case, edits = golden.tensors, golden.facts["kwargs"]["edits"]
    rows = []
    for latent in case["latents"]:
        for component, start, end, strength in edits:
            edit = edit_of(
                editor(), component=component, start=start, end=end, strength=strength, mode="to"
            )
            basis = (case["pca_comp"][component, 0], case["pca_mean"][0])
            deviation = float(case["pca_std"][component])
            rows.append(moved_along(latent[None], *basis, deviation, edit, "x"))
    assert torch.allclose(torch.cat(rows), case["ganspace_result"], atol=1e-5)


def test_a_randomised_basis_is_near_the_exact_one() -> None:
    case = GoldenCase("ganspace_pca").tensors
    found = last(randomised(case["samples"].split(1000), 12))
    wanted = last(exact([case["samples"]], 12))
    assert float((found.components * wanted.components).sum(1).min()) > 0.999
    assert torch.allclose(found.deviations, wanted.deviations, rtol=1e-3)
    assert found.shares is not None and wanted.shares is not None
    assert torch.allclose(found.shares, wanted.shares, rtol=2e-3)


def test_independent_components_are_the_sources_that_were_mixed() -> None:
    """Their directions aren't at right angles, which no principal components find."""
    rng = torch.Generator().manual_seed(0)
    sources = torch.rand(4000, 3, generator=rng) - 0.5
    mixing = torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.8, 1.0, 0.0, 0.3], [0.0, 0.4, 1.0, 0.0]])
    samples = 3 * sources @ mixing + 2
    found = last(independent(samples.split(1500), 3))
    read = (samples - found.mean) @ found.components.T
    agreement = torch.corrcoef(torch.cat([read, sources], 1).T)[:3, 3:].abs()
    assert float(agreement.amax(1).min()) > 0.99
    assert sorted(agreement.argmax(1).tolist()) == [0, 1, 2]
    assert torch.allclose(found.deviations, read.std(0, correction=0), rtol=1e-3)
    assert torch.equal(found.deviations, found.deviations.sort(descending=True).values)


def test_independent_components_that_do_not_settle_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inv3d.plugins.editors.ganspace.basis._MOST_ITERATIONS", 3)
    samples = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InvError, match="didn't settle in 3 iterations"):
        last(independent([samples], 20))


def test_sparse_components_leave_out_what_matters_little() -> None:
    rng = torch.Generator().manual_seed(0)
    strength = torch.tensor([[3.0], [2.0]])
    directions = torch.zeros(2, 12)
    directions[0, :3], directions[1, 5:9] = 3**-0.5, 0.5
    samples = torch.randn(3000, 2, generator=rng) * strength.T @ directions
    samples = samples + 0.1 * torch.randn(3000, 12, generator=rng) + 1
    found = last(sparse(samples.split(1000), 2))
    assert float((found.components * directions).sum(1).min()) > 0.99
    assert torch.equal(found.components == 0, directions == 0)
    assert torch.allclose(found.deviations, strength[:, 0], rtol=0.05)


@pytest.mark.parametrize("estimator", ["pca", "ipca", "fbpca"])
@pytest.mark.parametrize("chunk", [None, 700])
def test_a_fit_finds_the_axes_of_w(estimator: str, chunk: int | None) -> None:
    generator = toy()
    found, stages = fitted(editor(estimator=estimator, chunk=chunk), generator)
    assert stages == ["sample"] * (2 if chunk is None else 6)
    w = generator.map(torch.randn(20_000, 8, generator=torch.Generator().manual_seed(9)))[:, 0]
    _, scale, axes = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    cosines = (found.tensors["components"] * axes[:6]).sum(1).abs()
    assert float(cosines[:3].min()) > 0.98
    assert torch.allclose(found.tensors["deviations"], scale[:6] / 20_000**0.5, rtol=0.06)
    assert torch.allclose(found.tensors["mean"], w.mean(0), atol=0.1)
    assert found.fingerprint == generator.spec.fingerprint and found.generator == "toy"


def test_components_default_to_what_w_has() -> None:
    assert len(fitted(editor(components=None), toy())[0].tensors["components"]) == W_DIM


def test_deviations_can_come_from_fresh_samples(directions: Directions) -> None:
    found = fitted(editor(fresh=3000), toy())[0]
    assert torch.equal(found.tensors["components"], directions.tensors["components"])
    assert not torch.equal(found.tensors["deviations"], directions.tensors["deviations"])
    assert torch.allclose(found.tensors["deviations"], directions.tensors["deviations"], rtol=0.1)


def test_truncation_draws_samples_together(directions: Directions) -> None:
    found = fitted(editor(truncation=0.5), toy())[0]
    assert torch.allclose(
        found.tensors["deviations"], 0.5 * directions.tensors["deviations"], rtol=1e-3
    )


def test_components_are_named_after_what_the_generator_knows() -> None:
    names = fitted(editor(named_from=0.2), toy())[0].names
    assert "size" in names and set(names["size"]) == {"component", "strength"}
    assert not fitted(editor(named_from=1.0), toy())[0].names


def test_a_name_means_more_of_it() -> None:
    generator = toy()
    found = fitted(editor(named_from=0.2), generator)[0]
    options = GANSpace(GANSpaceConfig()).named(found, "size", 1.5)
    edited = editor().apply(subject_of(generator), edit_of(editor(), **options), found)
    change = edited.ws - subject_of(generator).inversion.ws
    assert float(change[0, 0, 0]) > 0


def test_a_camera_conditions_generators_that_want_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, seen = toy(), []
    generator.spec = replace(generator.spec, condition="camera")

    def mapped(z: Tensor, condition: Camera | None = None, truncation: float = 1.0) -> Tensor:
        seen.extend([] if condition is None else [condition])
        return torch.randn(len(z), LAYERS, W_DIM)

    monkeypatch.setattr(generator, "map", mapped)
    fitted(editor(yaw_deg=20.0, pitch_deg=5.0), generator)
    assert all(torch.allclose(c.yaw.rad2deg(), torch.tensor(20.0), atol=1e-3) for c in seen)
    assert all(torch.allclose(c.pitch.rad2deg(), torch.tensor(5.0), atol=1e-3) for c in seen)
    seen.clear()
    fitted(editor(), generator)
    assert all(abs(float(c.yaw[0])) < 1e-6 for c in seen)


@torch.no_grad()
@pytest.mark.parametrize("latents", [1, 4])
@pytest.mark.parametrize("unit", ["deviations", "raw"])
@pytest.mark.parametrize("mode", ["by", "to"])
def test_all_latents_go_the_same_way(
    directions: Directions, latents: int, unit: str, mode: str
) -> None:
    subject = subject_of(toy(), latents)
    ws = subject.inversion.ws
    edit = edit_of(editor(), component=1, strength=2.0, unit=unit, mode=mode, start=1, end=3)
    edited = editor().apply(subject, edit, directions)
    change = edited.ws - ws
    assert torch.equal(change[:, [0, 3]], torch.zeros(latents, 2, W_DIM))
    assert torch.allclose(change[:, 1:3], change[:1, 1:2].expand(latents, 2, W_DIM), atol=1e-6)
    direction = directions.tensors["components"][1]
    scale = float(directions.tensors["deviations"][1]) if unit == "deviations" else 1.0
    length = float(change[0, 1] @ direction)
    if mode == "by":
        assert length == pytest.approx(2 * scale, rel=1e-4)
    else:
        whole = edit.model_copy(update={"start": 0, "end": None})
        at = editor().apply(subject, whole, directions).ws[:, 0] - directions.tensors["mean"]
        assert float((at @ direction).mean()) == pytest.approx(2 * scale, rel=1e-4)
    assert edited.history[-1].name == "ganspace" and edited.history[-1].options["component"] == 1


def test_edits_stack_and_undo_one_another(directions: Directions) -> None:
    subject = subject_of(toy())
    there = editor().apply(subject, edit_of(editor(), strength=1.5), directions)
    back = editor().apply(
        Subject(subject.generator, there), edit_of(editor(), strength=-1.5), directions
    )
    assert torch.allclose(back.ws, subject.inversion.ws, atol=1e-5)
    assert [made.name for made in back.history] == ["multilatent", "ganspace", "ganspace"]


@torch.no_grad()
def test_an_offset_of_the_scene_stays(directions: Directions) -> None:
    generator = toy()
    offset = {"looks": torch.randn(1, 8, 5)}
    subject = subject_of(generator, offset=offset)
    edited = editor().apply(subject, edit_of(editor(), strength=2.0), directions)
    camera = generator.spec.camera.front()
    scene = edited.scene_for(generator, camera).parts["looks"]
    plain = generator.synthesize(edited.ws).parts["looks"]
    assert torch.allclose(scene - plain, offset["looks"], atol=1e-5)


@torch.no_grad()
def test_frames_of_a_video_are_edited_at_the_latents_of_their_own_frames(
    directions: Directions,
) -> None:
    """Cameras of frames may be alike: only names tell them apart."""
    generator, names = toy(), ("a.png", "b.png")
    own, other = (
        subject_of(generator, 2, seed, blend="frame", frames=order)
        for seed, order in ((0, names), (5, names[::-1]))
    )
    one = generator.spec.camera.front().repeat_interleave(2)
    alike = [replace(s.inversion, cameras=one) for s in (own, other)]
    partner = Subject(generator, alike[1])
    subject = Subject(generator, alike[0], partners=(partner,))
    edit = edit_of(editor(), strength=2.0)
    found = editor().apply(subject, edit, directions).offset["looks"]
    ws = alike[1].ws
    moved = editor().apply(partner, edit, directions).ws
    after, before = (generator.synthesize(w).parts["looks"] for w in (moved, ws))
    assert torch.allclose(found, (after - before).flip(0), atol=1e-5)


@torch.no_grad()
def test_with_a_partner_the_change_is_made_at_its_latents(directions: Directions) -> None:
    generator = toy()
    offset = {"looks": torch.randn(1, 8, 5)}
    partner = subject_of(generator, seed=5)
    subject = subject_of(generator, offset=offset, partners=(partner,))
    edit = edit_of(editor(), strength=2.0)
    edited = editor().apply(subject, edit, directions)
    assert torch.equal(edited.ws, subject.inversion.ws)
    there = partner.inversion.ws
    moved = editor().apply(partner, edit, directions).ws
    camera = generator.spec.camera.front()
    for name in ("looks", "centres"):
        change = generator.synthesize(moved).parts[name] - generator.synthesize(there).parts[name]
        before = subject.inversion.scene_for(generator, camera).parts[name]
        after = edited.scene_for(generator, camera).parts[name]
        assert torch.allclose(after - before, change, atol=1e-5)


def test_what_others_keep_stays(directions: Directions) -> None:
    subject = subject_of(toy())
    other = Directions("x", "toy", directions.fingerprint, {"components": torch.eye(W_DIM)[:2]})
    edit = edit_of(editor(), strength=2.0, unit="raw")
    change = editor().apply(subject, edit, directions, (other,)).ws - subject.inversion.ws
    assert float(change[..., :2].abs().max()) < 1e-5
    assert float(change[0, 0].norm()) == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("mode", ["by", "to"])
def test_a_component_that_does_not_vary_is_refused(mode: Any) -> None:
    """Sparse ones may have nothing left."""
    edit = GANSpaceEdit(mode=mode, strength=2.0)
    with pytest.raises(ConfigError, match="component 3 moves nothing, since latents don't vary"):
        moved_along(torch.randn(2, 4, 8), torch.eye(8)[0], torch.zeros(8), 0.0, edit, "component 3")


def test_far_out_is_said(directions: Directions) -> None:
    with pytest.warns(UserWarning, match="component 0: the latent ends .* standard deviations"):
        editor().apply(subject_of(toy()), edit_of(editor(), strength=9.0), directions)


def _fails(error: type[InvError], said: str, call: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_impossible_wishes_are_refused(directions: Directions) -> None:
    subject = subject_of(toy())
    apply = editor().apply
    _fails(
        ConfigError, "'component' of editor ganspace: 6 of 6 .* give 0 to 5",
        lambda: apply(subject, edit_of(editor(), component=6), directions),
    )  # fmt: skip
    _fails(
        ConfigError, "layers 0 to 9 of latents that have 4",
        lambda: apply(subject, edit_of(editor(), end=9), directions),
    )  # fmt: skip
    _fails(
        WeightsError, "for generator toy, .* but this one is toy",
        lambda: apply(subject_of(toy(1)), edit_of(editor()), directions),
    )  # fmt: skip
    empty = subject_of(toy())
    nothing = replace(
        empty.inversion, ws=empty.inversion.ws[:0], cameras=empty.inversion.cameras[:0]
    )
    empty = Subject(empty.generator, nothing)
    _fails(InputError, "has no latents", lambda: apply(empty, edit_of(editor()), directions))
    _fails(ConfigError, "9, but W has 8", lambda: fitted(editor(components=9), toy()))
    _fails(ConfigError, "more samples than", lambda: fitted(editor(samples=6), toy()))
    _fails(ConfigError, "isn't conditioned", lambda: fitted(editor(yaw_deg=3), toy()))
    damaged = Directions("ganspace", "toy", directions.fingerprint, {})
    _fails(
        WeightsError, "have no 'components'; the file was changed",
        lambda: apply(subject, edit_of(editor()), damaged),
    )  # fmt: skip
    for options in ({"strength": float("inf")}, {"unit": "miles"}, {"mode": "at"}):
        _fails(ConfigError, "editor ganspace", lambda options=options: edit_of(editor(), **options))


COMPONENTS = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0][:5]


def taken(path: Path) -> Directions:
    return editor().take(path, toy(), Context.create(seed=3))


def test_bases_of_others_keep_their_signs(tmp_path: Path) -> None:
    rows = COMPONENTS.numpy()
    mean, deviations = np.arange(8.0, dtype=np.float32), np.arange(1, 6).astype(np.float32)
    np.savez(tmp_path / "eg3d.npz", components=rows, mean=mean)
    np.savez_compressed(
        tmp_path / "ganspace.npz", lat_comp=rows[:, None], lat_mean=mean[None],
        lat_stdev=deviations, act_comp=np.zeros((5, 3), np.float32),
    )  # fmt: skip
    np.save(tmp_path / "poseopt.npy", 3 * rows)
    pti = {
        "comp": COMPONENTS[:, None],
        "mean": torch.tensor(mean)[None],
        "std": torch.tensor(deviations),
    }
    torch.save(pti, tmp_path / "pti.pt")
    measured = {"eg3d.npz": ["deviations"], "poseopt.npy": ["mean", "deviations"]}
    for name in ("eg3d.npz", "ganspace.npz", "poseopt.npy", "pti.pt"):
        found = taken(tmp_path / name)
        assert torch.allclose(found.tensors["components"], COMPONENTS, atol=1e-6), name
        assert found.facts["fit"]["measured"] == measured.get(name, [])
        if name not in measured:
            assert torch.equal(found.tensors["deviations"], torch.tensor(deviations))
        if name != "poseopt.npy":
            assert torch.equal(found.tensors["mean"], torch.tensor(mean))
        assert bool((found.tensors["deviations"] > 0).all())


def test_measured_deviations_are_those_of_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "basis.npy", np.eye(8, dtype=np.float32))
    found = taken(tmp_path / "basis.npy")
    w = toy().map(torch.randn(50_000, 8, generator=torch.Generator().manual_seed(4)))[:, 0]
    assert torch.allclose(found.tensors["deviations"], w.std(0), rtol=0.05)
    assert torch.allclose(found.tensors["mean"], w.mean(0), atol=0.1)


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"other": np.zeros((2, 8), np.float32)}, WeightsError, "holds no components"),
        ({"components": np.ones((2, 512), np.float32)}, WeightsError, "512 numbers, but .* have 8"),
        ({"components": np.zeros((2, 8), np.float32)}, WeightsError, "is zero or not finite"),
        ({"components": np.ones(8, np.float32)}, WeightsError, r"shape \(8,\)"),
        (
            {"components": np.ones((2, 8), np.float32), "mean": np.ones(4, np.float32)},
            WeightsError,
            "a mean of 4 numbers",
        ),
        (
            {"components": np.ones((2, 8), np.float32), "mean": np.full(8, np.nan, np.float32)},
            InputError,
            "aren't finite",
        ),
        (
            {
                "lat_comp": np.ones((2, 1, 8), np.float32),
                "lat_mean": np.ones(8, np.float32),
                "lat_stdev": np.ones(3, np.float32),
            },
            WeightsError,
            "3 deviations for 2 components",
        ),
        (
            {
                "lat_comp": np.ones((2, 1, 8), np.float32),
                "lat_mean": np.ones(8, np.float32),
                "lat_stdev": np.array([1, 0], np.float32),
            },
            WeightsError,
            "a deviation of 0, expected numbers above 0",
        ),
    ],
)
def test_wrong_bases_are_refused(
    tmp_path: Path, arrays: dict[str, Any], error: type[InvError], said: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    _fails(error, said, lambda: taken(tmp_path / "x.npz"))


def test_a_file_that_is_no_basis_is_refused(tmp_path: Path) -> None:
    _fails(InputError, "no such file", lambda: taken(tmp_path / "none.npz"))
    (tmp_path / "x.npz").write_text("hello")
    _fails(InputError, "holds no directions but", lambda: taken(tmp_path / "x.npz"))


def test_the_shipped_directions_fit_the_embedded_generator() -> None:
    generator = load_generator("minihead")
    path = GANSpace.shipped(generator)
    assert path is not None
    found = Directions.load(path)
    found.check_generator(generator)
    assert len(found.names) >= 8
    components = found.tensors["components"]
    assert torch.allclose(components @ components.T, torch.eye(len(components)), atol=1e-4)
    assert torch.equal(signed(components), components)


def test_the_sheet_shows_components_in_order_with_their_names(directions: Directions) -> None:
    named = Directions(
        "ganspace", "toy", directions.fingerprint, directions.tensors,
        {"names": {"size": {"component": 2, "strength": -1.0}}},
    )  # fmt: skip
    rows = editor().rows(named, 4)
    assert [title for title, _ in rows] == ["0", "1", "2 size", "3"]
    assert rows[2][1]["strength"] == -1.0 and rows[3][1] == {"component": 3, "strength": 1.0}
    assert len(editor().rows(named, 99)) == 6


@torch.no_grad()
def test_the_effect_on_several_latents_does_not_depend_on_the_angle() -> None:
    """What the edit does to a view is what it does to one latent there, within a tenth."""
    generator = load_generator("minihead", {"render_resolution": 32, "samples": 12})
    found = Directions.load(GANSpace.shipped(generator) or Path())
    rng = torch.Generator().manual_seed(11)
    first, second = generator.map(torch.randn(2, generator.spec.z_dim, generator=rng))
    # five latents of one head that changes its expression a little
    share = torch.linspace(0, 0.15, 5)[:, None, None]
    views = generator.spec.camera.orbit(torch.linspace(60, -60, 5).deg2rad())
    several = Inversion(
        torch.lerp(first[None], second[None], share), views, "minihead", found.fingerprint
    )
    # one of colours: outlines jump from pixel to pixel
    colour = found.facts["names"]["dark_skin"]["component"]
    edit = edit_of(editor(), component=colour, strength=1.5)
    edited = editor().apply(Subject(generator, several), edit, found)
    camera = generator.spec.camera.orbit(torch.linspace(55, -55, 11).deg2rad())
    sizes = []
    for i in range(len(camera)):
        one = camera[[i]]
        alone = replace(several, ws=several.ws_for(one), cameras=one)
        moved = editor().apply(Subject(generator, alone), edit, found)
        pictures = [
            generator.render(inversion.scene_for(generator, one), one).require("image")
            for inversion in (edited, several, moved, alone)
        ]
        sizes.append([float((a - b).norm()) for a, b in (pictures[:2], pictures[2:])])
    ratio = torch.tensor(sizes)[:, 0] / torch.tensor(sizes)[:, 1]
    assert float(ratio.min()) > 0.9 and float(ratio.max()) < 1.1
    # and no seam: neighbouring views change by alike amounts
    steps = torch.tensor(sizes)[:, 0]
    assert float((steps[1:] / steps[:-1] - 1).abs().max()) < 0.25
