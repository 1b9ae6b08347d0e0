"""What every estimator is held to: a camera a picture, in the generator's coordinates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inv3d.core.camera import Camera
from inv3d.core.errors import InvError, UnsupportedError, WeightsError
from inv3d.core.estimator import AnyEstimator, Estimator
from inv3d.core.generator import Generator
from inv3d.testing import common_checks, training_checks
from inv3d.testing.subjects import Subject, finite, near, shaped
from inv3d.testing.suite import DoesntApply, Suite
from inv3d.testing.toy import toy_capture

SUITE: Suite[Subject] = Suite()
common_checks.installed(SUITE)
common_checks.described(SUITE)
VIEWS = 3
TOLERANCE = 1e-3


def _images(subject: Subject) -> tuple[Tensor, Generator]:
    generator = subject.stage()
    return toy_capture(generator, VIEWS, yaw_deg=20.0).images.to(subject.device), generator


def _estimated(subject: Subject, images: Tensor | None = None) -> Camera:
    pictures, generator = _images(subject)
    estimator: AnyEstimator = subject.make()
    try:
        with torch.no_grad():
            return estimator.estimate(pictures if images is None else images, generator)
    except (UnsupportedError, WeightsError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error


@SUITE.check
def is_built_ready_for_use(subject: Subject) -> None:
    """An `nn.Module` in eval mode, frozen."""
    made = subject.plugin
    assert isinstance(made, Estimator), f"create returns a {type(made).__name__}"
    assert not made.training and not any(p.requires_grad for p in made.parameters())


@SUITE.check
def gives_a_camera_a_picture(subject: Subject) -> None:
    """N cameras, finite."""
    found = _estimated(subject)
    assert isinstance(found, Camera), f"estimate returns a {type(found).__name__}"
    assert len(found) == VIEWS, f"{len(found)} cameras of {VIEWS} pictures"
    finite("the cameras", found.labels())


@SUITE.check
def gives_cameras_that_can_be(subject: Subject) -> None:
    """Rotations are rotations, and the cameras look at the generator's volume."""
    found = _estimated(subject)
    rotation = found.rotation.double()
    unit = torch.eye(3, dtype=torch.float64).to(rotation).expand(VIEWS, 3, 3)
    near("rotation times its transpose", rotation @ rotation.transpose(1, 2), unit, 1e-3)
    assert bool((torch.linalg.det(rotation) > 0).all()), "a rotation is mirrored"
    spec = subject.stage().spec
    uv, distance = found.project(torch.tensor([spec.camera.pivot]).to(found.cam2world))
    assert bool((distance > 0).all()), "the head is behind a camera"
    shaped("the head's place", uv, VIEWS, None, 2)


@SUITE.check
def takes_the_generators_coordinates(subject: Subject) -> None:
    """Distance and focal length are of the order of the generator's."""
    found, prior = _estimated(subject), subject.stage().spec.camera
    ratio = found.radius / prior.radius
    assert bool(((ratio > 0.4) & (ratio < 2.5)).all()), (
        f"cameras stand {float(found.radius.mean()):.3g} away, the generator's {prior.radius:.3g}"
    )


@SUITE.check
def judges_each_picture_alone(subject: Subject) -> None:
    """A picture's camera doesn't depend on the others of its batch."""
    images, _ = _images(subject)
    together = _estimated(subject).labels()
    alone = [_estimated(subject, image[None]).labels() for image in images]
    near("the camera of a picture alone", torch.cat(alone), together, TOLERANCE)


@SUITE.check
def repeats_itself(subject: Subject) -> None:
    """The same picture gives the same camera, whatever torch's random numbers are."""
    torch.manual_seed(1)
    first = _estimated(subject).labels()
    torch.manual_seed(2)
    near("the cameras at another seed of torch", _estimated(subject).labels(), first, 0.0)


@SUITE.check
def leaves_its_pictures_alone(subject: Subject) -> None:
    """Neither pictures nor generator are changed."""
    images, generator = _images(subject)
    kept = images.clone()
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    try:
        with torch.no_grad():
            subject.make().estimate(images, generator)
    except (UnsupportedError, WeightsError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error
    near("the pictures", images, kept, 0.0)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, state[name]), f"the generator's '{name}' has changed"


@SUITE.check
def has_gradients_of_its_networks(subject: Subject) -> None:
    """A method can go on optimising its parameters."""
    images, generator = _images(subject)
    made: nn.Module = subject.make().requires_grad_(True)
    if not any(True for _ in made.parameters()):
        raise DoesntApply("it has no networks")
    try:
        found = made.estimate(images, generator)  # type: ignore[operator]
    except (UnsupportedError, WeightsError) as error:
        raise DoesntApply(f"needs weights or another generator ({error})") from error
    assert found.cam2world.requires_grad, "cameras hang on no parameter"
    found.cam2world.square().sum().backward()
    gradients = [p.grad for p in made.parameters() if p.grad is not None]
    assert any(bool(gradient.any()) for gradient in gradients), "its gradient is zero"


@SUITE.check
def takes_pictures_without_anything_to_see(subject: Subject) -> None:
    """A black picture gives a camera, or an error of one line."""
    images, _ = _images(subject)
    try:
        finite(
            "the camera of a black picture",
            _estimated(subject, -torch.ones_like(images[:1])).labels(),
        )
    except InvError as error:
        assert "\n" not in str(error), "its error has several lines"


training_checks.trained(SUITE)
