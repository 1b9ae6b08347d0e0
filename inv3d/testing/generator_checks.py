"""What every generator is held to: shapes, ranges, invariances, gradients, what it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inv3d.core.camera import Camera
from inv3d.core.errors import InvError, UnsupportedError, WeightsError
from inv3d.core.generator import Generator, neutral_condition
from inv3d.core.registry.discovery import registry
from inv3d.core.scene import OUTPUTS, OutputName, Rendering, Scene
from inv3d.testing import common_checks
from inv3d.testing.subjects import Subject, cameras, finite, latents, near, shaped
from inv3d.testing.suite import DoesntApply, Suite

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
common_checks.described(SUITE)
TOLERANCE = 2e-3
_CHANNELS = {"image": 3, "raw": 3, "depth": 1, "mask": 1, "features": None}


def _made(subject: Subject) -> Generator:
    made: Generator = subject.plugin
    return made


def _seen(
    generator: Generator,
    scene: Scene,
    camera: Camera,
    outputs: Sequence[OutputName] | None = None,
    **more: Any,
) -> Rendering:
    """Render with the same random numbers every time."""
    generator.rng = torch.Generator(generator.device).manual_seed(5)
    wanted = generator.spec.outputs if outputs is None else outputs
    return generator.render(scene, camera, outputs=wanted, **more)


def _still(subject: Subject) -> Generator:
    """Return the generator, where its pictures don't depend on random numbers."""
    generator = _made(subject)
    with torch.no_grad():
        scene, camera = generator.synthesize(latents(generator, 1)), cameras(generator, 1)
        first = _seen(generator, scene, camera).require("image")
        generator.rng = torch.Generator(generator.device).manual_seed(6)
        other = generator.render(scene, camera).require("image")
    if not torch.equal(first, other):
        raise DoesntApply("its pictures are random; give options that switch that off")
    return generator


@SUITE.check
def is_built_ready_for_use(subject: Subject) -> None:
    """On the CPU, in eval mode, with a spec that names it."""
    made = subject.built()
    assert isinstance(made, Generator), f"create returns a {type(made).__name__}"
    assert made.device.type == "cpu", f"it's on {made.device}"
    assert not made.training, "it isn't in eval mode"
    assert made.spec.name, "its spec has no name"


@SUITE.check
def states_its_facts(subject: Subject) -> None:
    """Sizes, depths and outputs of the spec make sense."""
    spec = _made(subject).spec
    sizes = {n: getattr(spec, n) for n in ("z_dim", "w_dim", "num_ws", "resolution")}
    sizes["render_resolution"] = spec.render_resolution
    for name, size in sizes.items():
        assert isinstance(size, int) and size > 0, f"spec.{name} is {size!r}"
    first, last = spec.depth_range
    assert 0 < first < last, f"spec.depth_range is {spec.depth_range}"
    assert spec.box > 0 and spec.domain and spec.fingerprint, "box, domain or fingerprint is empty"
    unknown = sorted(set(spec.outputs) - set(OUTPUTS))
    assert not unknown and "image" in spec.outputs, f"spec.outputs is {spec.outputs}"
    wanted = spec.condition == "vector"
    assert (spec.condition_dim > 0) == wanted, f"spec.condition_dim is {spec.condition_dim}"


@SUITE.check
def names_losses_that_there_are(subject: Subject) -> None:
    """Default losses and metrics are plugins that are installed."""
    spec = _made(subject).spec
    for name in (*spec.default_losses, *(m.partition("?")[0] for m in spec.metrics.values())):
        registry().record("losses", name)


@SUITE.check
def maps_latents(subject: Subject) -> None:
    """`map` makes ws of the size that the spec says."""
    generator, spec = _made(subject), _made(subject).spec
    ws = latents(generator, 3)
    shaped("ws", ws, 3, spec.num_ws, spec.w_dim)
    finite("ws", ws)
    assert ws.dtype == generator.dtype, f"ws is {ws.dtype}, the generator {generator.dtype}"


@SUITE.check
def maps_each_latent_alone(subject: Subject) -> None:
    """A latent doesn't depend on the others of its batch."""
    generator = _made(subject)
    z = torch.randn(3, generator.spec.z_dim, generator=torch.Generator().manual_seed(1))
    z = z.to(generator.device, generator.dtype)
    with torch.no_grad():
        together = generator.map(z, neutral_condition(generator, 3))
        alone = [generator.map(row[None], neutral_condition(generator, 1)) for row in z]
    near("ws of one latent", torch.cat(alone), together, TOLERANCE)


@SUITE.check
def truncates_towards_one_mean(subject: Subject) -> None:
    """Truncation 0 makes one latent of all, 1 leaves them as they are."""
    generator = _made(subject)
    z = torch.randn(2, generator.spec.z_dim, generator=torch.Generator().manual_seed(1))
    z, condition = z.to(generator.device, generator.dtype), neutral_condition(generator, 2)
    with torch.no_grad():
        mean, half, whole = (generator.map(z, condition, t) for t in (0.0, 0.5, 1.0))
        usual = generator.map(z, condition)
    near("ws at truncation 1", whole, usual, 1e-6)
    near("ws at truncation 0 of another latent", mean[:1], mean[1:], 1e-5)
    near("ws at truncation 0.5", half, (mean + whole) / 2, TOLERANCE)


@SUITE.check
def refuses_another_condition(subject: Subject) -> None:
    """A condition of another kind than the spec says is an UnsupportedError."""
    generator = _made(subject)
    z = torch.zeros(1, generator.spec.z_dim).to(generator.device, generator.dtype)
    wrong = (
        torch.zeros(1, 3).to(z) if generator.spec.condition == "camera" else cameras(generator, 1)
    )
    if generator.spec.condition == "none":
        raise DoesntApply("it's conditioned on nothing")
    try:
        generator.map(z, wrong)
    except UnsupportedError:
        return
    raise AssertionError(f"a {type(wrong).__name__} is taken as its condition")


@SUITE.check
def makes_scenes(subject: Subject) -> None:
    """A scene has a row of every part for each latent, and carries the latents."""
    generator, ws = _made(subject), latents(_made(subject), 2)
    with torch.no_grad():
        scene = generator.synthesize(ws)
    assert isinstance(scene, Scene), f"synthesize returns a {type(scene).__name__}"
    assert scene.parts, "the scene has no parts"
    for name, part in scene.parts.items():
        assert len(part) == 2, f"part '{name}' has {len(part)} rows for 2 latents"
        finite(f"part '{name}'", part)
    near("the scene's ws", scene.ws, ws, 0.0)


@SUITE.check
def makes_each_scene_alone(subject: Subject) -> None:
    """A scene doesn't depend on the others of its batch."""
    generator, ws = _still(subject), latents(_made(subject), 2)
    with torch.no_grad():
        together, alone = generator.synthesize(ws), generator.synthesize(ws[1:])
    for name, part in alone.parts.items():
        scale = max(1.0, float(part.abs().max()))
        near(
            f"part '{name}' of one scene", part / scale, together.parts[name][1:] / scale, TOLERANCE
        )


@SUITE.check
def renders_what_its_spec_promises(subject: Subject) -> None:
    """Every output has its shape, and the latents come with the pictures."""
    generator, spec = _made(subject), _made(subject).spec
    with torch.no_grad():
        seen = _seen(generator, generator.synthesize(latents(generator, 1)), cameras(generator, 2))
    for name in spec.outputs:
        side = spec.resolution if name == "image" else spec.render_resolution
        shaped(name, getattr(seen, name), 2, _CHANNELS[name], side, side)
        finite(name, getattr(seen, name))
    shaped("the rendering's ws", seen.ws, 2, spec.num_ws, spec.w_dim)


@SUITE.check
def renders_only_what_is_asked_for(subject: Subject) -> None:
    """Outputs that nobody asked for are None."""
    generator = _made(subject)
    scene, camera = generator.synthesize(latents(generator, 1)), cameras(generator, 1)
    for name in generator.spec.outputs:
        with torch.no_grad():
            seen = _seen(generator, scene, camera, (name,))
        made = [other for other in OUTPUTS if getattr(seen, other) is not None]
        assert made == [name], f"asked for {name}, it makes {', '.join(made) or 'nothing'}"


@SUITE.check
def keeps_to_the_ranges(subject: Subject) -> None:
    """Pictures in [-1, 1], opacities in [0, 1], depths near the spec's range."""
    generator, spec = _made(subject), _made(subject).spec
    with torch.no_grad():
        seen = _seen(generator, generator.synthesize(latents(generator, 2)), cameras(generator, 4))
    width = spec.depth_range[1] - spec.depth_range[0]
    limits = {
        # networks' last layers overshoot a little
        "image": (-1.5, 1.5),
        "mask": (-1e-3, 1 + 1e-3),
        "depth": (max(0.0, spec.depth_range[0] - width / 2), spec.depth_range[1] + width / 2),
    }
    for name, (least, most) in limits.items():
        if (values := getattr(seen, name)) is not None:
            found = float(values.min()), float(values.max())
            assert found[0] >= least and found[1] <= most, (
                f"{name} goes from {found[0]:.3g} to {found[1]:.3g}, expected {least:.3g} to "
                f"{most:.3g}"
            )


@SUITE.check
def takes_another_number_of_rays(subject: Subject) -> None:
    """`resolution` is the rays a side of all but the final picture."""
    generator, spec = _made(subject), _made(subject).spec
    names = [name for name in spec.outputs if name in ("raw", "depth", "mask")]
    if not names:
        raise DoesntApply("it makes pictures alone")
    side = max(4, spec.render_resolution // 2)
    with torch.no_grad():
        scene = generator.synthesize(latents(generator, 1))
        seen = _seen(generator, scene, cameras(generator, 1), names, resolution=side)
    for name in names:
        shaped(name, getattr(seen, name), 1, _CHANNELS[name], side, side)


@SUITE.check
def pairs_cameras_with_scenes(subject: Subject) -> None:
    """Of B scenes and B * V cameras, V consecutive ones see each scene."""
    generator, camera = _still(subject), cameras(_made(subject), 4)
    with torch.no_grad():
        scene = generator.synthesize(latents(generator, 2))
        together = _seen(generator, scene, camera, ("image",)).require("image")
        alone = [
            _seen(generator, scene[[row // 2]], camera[[row]], ("image",)).require("image")
            for row in range(4)
        ]
    near("a picture that is rendered alone", torch.cat(alone), together, TOLERANCE)


@SUITE.check
def refuses_cameras_that_cant_be_shared(subject: Subject) -> None:
    """3 cameras and 2 scenes are a ValueError."""
    generator = _made(subject)
    with torch.no_grad():
        scene = generator.synthesize(latents(generator, 2))
    try:
        _seen(generator, scene, cameras(generator, 3))
    except ValueError:
        return
    raise AssertionError("3 cameras are shared by 2 scenes without a word")


@SUITE.check
def repeats_itself_under_a_seed(subject: Subject) -> None:
    """The same random numbers of `rng` make the same picture, whatever torch's own are."""
    generator, camera = _made(subject), cameras(_made(subject), 1)
    pictures = []
    with torch.no_grad():
        for seed in (1, 2):
            torch.manual_seed(seed)
            scene = generator.synthesize(latents(generator, 1))
            pictures.append(_seen(generator, scene, camera, ("image",)).require("image"))
    near("the picture at another seed of torch", pictures[1], pictures[0], 0.0)


@SUITE.check
def sees_the_side_that_the_camera_is_on(subject: Subject) -> None:
    """Another camera sees another picture, another latent too."""
    generator, camera = _made(subject), cameras(_made(subject), 2)
    with torch.no_grad():
        scene = generator.synthesize(latents(generator, 2))
        images = [
            _seen(generator, scene[[row]], camera, ("image",)).require("image") for row in (0, 1)
        ]
    assert float((images[0][0] - images[0][1]).abs().max()) > 1e-4, "every camera sees the same"
    assert float((images[0] - images[1]).abs().max()) > 1e-4, "every latent looks the same"


@SUITE.check
def computes_in_double_precision(subject: Subject) -> None:
    """`generator.double()` renders the same in float64."""
    generator, camera = _still(subject), cameras(_made(subject), 1)
    ws = latents(generator, 1)
    with torch.no_grad():
        single = _seen(generator, generator.synthesize(ws), camera, ("image",)).require("image")
        exact = subject.make().double()
        scene = exact.synthesize(ws.double())
        double = _seen(exact, scene, camera.to(dtype=torch.float64), ("image",)).require("image")
    assert double.dtype == torch.float64, f"the picture is {double.dtype}"
    near("the picture in float64", double.float(), single, 0.02)


@SUITE.check
def has_gradients_of_latents_cameras_and_weights(subject: Subject) -> None:
    """A picture's gradient reaches all of them, and is finite and not zero."""
    generator = subject.make().requires_grad_(True)
    ws = latents(generator, 1).requires_grad_()
    plain = cameras(generator, 2)
    pose = plain.cam2world.clone().requires_grad_()
    seen = _seen(generator, generator.synthesize(ws), Camera(pose, plain.intrinsics), ("image",))
    torch.autograd.backward(seen.require("image").square().mean())
    weights = [p.grad.abs().max() for p in generator.parameters() if p.grad is not None]
    for name, gradient in (("latents", ws.grad), ("cameras", pose.grad)):
        assert gradient is not None and bool(gradient.any()), f"no gradient reaches the {name}"
        finite(f"the gradient of the {name}", gradient)
    if any(True for _ in generator.parameters()):
        assert weights and max(weights) > 0, "no gradient reaches the weights"


@SUITE.check
def has_gradients_that_are_right(subject: Subject) -> None:
    """Along a random direction of the latents, the gradient is near the picture's slope (float64).

    Not more than near: where samples are taken on a ray often depends on the latents too, and that
    part has no gradient.
    """
    _still(subject)
    generator = subject.make().double()
    camera = cameras(generator, 1)
    start = latents(generator, 1)
    rng = torch.Generator().manual_seed(2)
    direction = torch.randn(start.shape, generator=rng, dtype=torch.float64).to(start)

    def value(ws: Tensor) -> Tensor:
        seen = _seen(generator, generator.synthesize(ws), camera, ("image",))
        return seen.require("image").square().mean()

    ws = start.clone().requires_grad_()
    torch.autograd.backward(value(ws))
    assert ws.grad is not None, "no gradient reaches the latents"
    slope, step = float((ws.grad * direction).sum()), 1e-6
    with torch.no_grad():
        ahead, behind = value(start + step * direction), value(start - step * direction)
    measured = float(ahead - behind) / (2 * step)
    assert math.isclose(slope, measured, rel_tol=0.5, abs_tol=1e-7), (
        f"the gradient says a slope of {slope:.4g}, the pictures of {measured:.4g}"
    )


@SUITE.check
def has_gradients_of_scenes(subject: Subject) -> None:
    """An offset of some part of the scene changes the picture, with a gradient."""
    generator = _made(subject)
    scene = generator.synthesize(latents(generator, 1))
    offsets = {
        name: torch.zeros_like(part[:1]).requires_grad_()
        for name, part in scene.parts.items()
        if part.is_floating_point()
    }
    seen = _seen(generator, scene + offsets, cameras(generator, 1), ("image",))
    torch.autograd.backward(seen.require("image").square().mean())
    reached = [name for name, o in offsets.items() if o.grad is not None and bool(o.grad.any())]
    assert reached, f"no gradient reaches the parts {', '.join(offsets)}"


@SUITE.check
def has_the_density_that_it_says(subject: Subject) -> None:
    """`sample` gives density and colour, or refuses where spec.density is false."""
    generator, spec = _made(subject), _made(subject).spec
    scene = generator.synthesize(latents(generator, 2))
    rng = torch.Generator().manual_seed(3)
    points = (torch.rand(2, 7, 3, generator=rng) - 0.5) * spec.box
    points = points.to(generator.device, generator.dtype)
    if not spec.density:
        try:
            generator.sample(scene, points)
        except UnsupportedError:
            return
        raise AssertionError("spec.density is false, but sample() works")
    with torch.no_grad():
        density, colour = generator.sample(scene, points)
        alone = generator.sample_density(scene, points)
    shaped("density", density, 2, 7)
    shaped("colour", colour, 2, 7, 3)
    finite("density", density)
    assert float(density.min()) >= 0, f"a density of {float(density.min()):.3g}"
    least, most = float(colour.min()), float(colour.max())
    assert least >= -0.05 and most <= 1.05, f"colours from {least:.3g} to {most:.3g}, expected 0..1"
    near("sample_density", alone, density, 1e-3 * max(1.0, float(density.max())))


@SUITE.check
def keeps_its_fingerprint(subject: Subject) -> None:
    """Built again, it's the same generator; its state dict carries all that matters."""
    first, second = _made(subject), subject.make()
    assert first.spec.fingerprint == second.spec.fingerprint, (
        f"fingerprints {first.spec.fingerprint} and {second.spec.fingerprint} of two builds"
    )
    state = {name: value.clone() for name, value in first.state_dict().items()}
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.01)
        second.load_state_dict(state)
        ws, camera = latents(first, 1), cameras(first, 1)
        pictures = [
            _seen(one, one.synthesize(ws), camera, ("image",)).require("image")
            for one in (first, second)
        ]
    near("the picture of a loaded state dict", pictures[1], pictures[0], 1e-5)


@SUITE.check
def refuses_a_weight_file_that_isnt_there(subject: Subject) -> None:
    """A missing file is a WeightsError of one line that names it, or it reads none at all."""
    path = Path("no-such-folder") / "no-such-weights.safetensors"
    try:
        subject.target.create(subject.config, path)
    except WeightsError as error:
        assert path.name in str(error) and "\n" not in str(error), f"it says {str(error)!r}"
    except InvError as error:
        raise AssertionError(f"a {type(error).__name__}, expected a WeightsError") from error


@SUITE.check
def shares_its_noise_maps(subject: Subject) -> None:
    """Noise maps are its own tensors, so that what is optimised is what is rendered."""
    generator = _made(subject)
    maps = generator.noise_maps()
    if not maps:
        raise DoesntApply("it has no noise maps")
    own = {value.data_ptr() for value in generator.state_dict().values()}
    copies = [name for name, value in maps.items() if value.data_ptr() not in own]
    assert not copies, f"noise map '{copies[0]}' is a copy"


@SUITE.check
def suggests_options_that_methods_have(subject: Subject) -> None:
    """`method_options` are valid options of installed methods."""
    from inv3d.core.inverter import load_method

    known = {record.name for record in registry().of_kind("methods")}
    for name, options in subject.target.method_options.items():
        if name in known:
            load_method(name, options)
