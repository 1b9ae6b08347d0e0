"""What plugins are held to whose networks are trained for a generator."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inv3d.core.errors import UsageError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.latent import latent_statistics
from inv3d.core.trained import Trained
from inv3d.core.training import Batch, Lesson, Trainable
from inv3d.testing.subjects import Subject, finite
from inv3d.testing.suite import DoesntApply, Suite
from inv3d.testing.toy import toy_capture, toy_latents

VIEWS = 2


@dataclass(frozen=True)
class School:
    """A plugin with fresh networks for a generator."""

    plugin: Any
    generator: Generator
    network: nn.Module
    training: Any


def _school(subject: Subject) -> School:
    """Build the networks.

    Raises:
        DoesntApply: where the plugin isn't trained, or has none for this generator.
    """
    if not (isinstance(subject.target, type) and issubclass(subject.target, Trainable)):
        raise DoesntApply("it isn't trained")
    generator, plugin = subject.stage(), subject.make()
    try:
        torch.manual_seed(1)
        network = plugin.build(generator)
    except UsageError as error:
        said = f"has no networks for generator {generator.spec.name} ({error})"
        raise DoesntApply(said) from None
    training = subject.target.Training(steps=2, batch=VIEWS)
    return School(plugin, generator, network.to(subject.device).train(), training)


def _batch(school: School) -> Batch:
    ws = toy_latents(school.generator, VIEWS, motion=1.0)
    capture = toy_capture(school.generator, VIEWS, motion=1.0, yaw_deg=10.0)
    return Batch(capture.to(school.generator.device), ws, 0)


def trained(suite: Suite[Subject]) -> None:
    """Add the checks; those of a plugin that isn't trained are left out."""

    @suite.check
    def builds_its_networks(subject: Subject) -> None:
        """`build` gives a module whose parameters the optimisers share out."""
        school = _school(subject)
        assert isinstance(school.network, nn.Module), f"build gives a {type(school.network)}"
        optimizers = school.plugin.optimizers(school.network, school.training)
        assert optimizers, "there's no optimiser"
        own = {id(parameter) for parameter in school.network.parameters()}
        stepped = [
            id(parameter)
            for optimizer in optimizers.values()
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        assert stepped and set(stepped) <= own, "an optimiser steps what is no part of them"
        assert len(set(stepped)) == len(stepped), "two optimisers share a parameter"

    @suite.check
    def has_losses_to_train_with(subject: Subject) -> None:
        """Losses are finite, and the gradient of each "total" reaches what its optimiser steps."""
        school = _school(subject)
        average = latent_statistics(school.generator, 200).mean[None]
        lesson = Lesson(
            school.network, school.generator, school.training, subject.context(), average
        )
        optimizers = school.plugin.optimizers(school.network, school.training)
        try:
            losses = school.plugin.losses(lesson, _batch(school))
        except WeightsError as error:
            raise DoesntApply(f"needs weights ({error})") from error
        for name, metrics in losses.items():
            assert name in optimizers, f"losses of '{name}', which is no optimiser"
            assert "total" in metrics, f"the losses of '{name}' have no total"
            finite(f"the total of '{name}'", metrics["total"])
            groups = optimizers[name].param_groups
            parameters = [p for group in groups for p in group["params"]]
            gradients = torch.autograd.grad(
                metrics["total"], parameters, retain_graph=True, allow_unused=True
            )
            assert any(g is not None and bool(g.any()) for g in gradients), (
                f"no gradient of '{name}' reaches what its optimiser steps"
            )

    @suite.check
    def keeps_what_was_trained(subject: Subject) -> None:
        """The networks that are kept are the same after they were written and read."""
        school = _school(subject)
        kept = school.plugin.kept(school.network)
        tensors = {name: value.cpu() for name, value in kept.state_dict().items()}
        spec = school.generator.spec
        made = Trained(subject.record.name, type(school.generator).name, spec.fingerprint, tensors)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trained.safetensors"
            made.save(path)
            other = school.plugin.kept(school.plugin.build(school.generator))
            Trained.load(path).load_into(other, path)
        for name, value in other.state_dict().items():
            assert torch.equal(value, tensors[name]), f"'{name}' is another one after reading"
