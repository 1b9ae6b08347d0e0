"""From a weight file to what a generator needs to be built: tensors, options, camera prior."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from inv3d.core.camera import CameraPrior
from inv3d.core.config import PluginConfig, build_config, merge
from inv3d.core.errors import ConfigError, WeightsError, plain_text
from inv3d.core.weights.tensors import check_floating
from inv3d.nn.eg3d.official.network import read_network
from inv3d.nn.eg3d.official.recognise import recognise
from inv3d.nn.filters import is_standard

C = TypeVar("C", bound=PluginConfig)
# tensors that are floating-point in every published network
_REAL = (".weight", ".bias", "resample_filter")


@dataclass(frozen=True)
class Opened:
    """A weight file, ready for its generator.

    Attributes:
        tensors: the state dict, without what nothing computes with.
        options: of the generator, as the file says them; variant included.
        camera: what the file says of the camera prior; may be empty.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any]
    camera: Mapping[str, Any]

    def resolved(self, kind: type[C], given: Mapping[str, Any], owner: str) -> C:
        """Return options of a kind in which those that were given win over the file's.

        Args:
            kind: the Config class.
            given: nested plain values.
            owner: whose options they are, for the message.

        Raises:
            ConfigError: where they don't go together.
            WeightsError: where the file's alone aren't valid.
        """
        try:
            return build_config(kind, merge(self.options, given), owner)
        except ConfigError:
            self._check(kind, owner)
            raise

    def _check(self, kind: type[PluginConfig], owner: str) -> None:
        try:
            build_config(kind, self.options, owner)
        except ConfigError as error:
            raise WeightsError(f"{self.path}: {error}") from None

    def prior(self, variant: CameraPrior) -> CameraPrior:
        """Return the variant's camera prior with what the file says of it.

        Raises:
            WeightsError: where that isn't a camera prior.
        """
        names = {field.name for field in fields(CameraPrior)}
        given: dict[str, Any] = {n: value for n, value in self.camera.items() if n in names}
        try:
            for name, value in given.items():
                given[name] = tuple(map(float, value)) if name == "pivot" else float(value)
            prior = replace(variant, **given)
            numbers = (prior.radius, prior.focal, *prior.pivot, prior.yaw_deg, prior.pitch_deg)
            lengths = min(prior.radius, prior.focal)
            if len(prior.pivot) != 3 or not all(map(math.isfinite, numbers)) or lengths <= 0:
                raise ValueError("not a camera prior")
            return prior
        except (TypeError, ValueError, OverflowError):
            found = plain_text(str(dict(self.camera)))
            raise WeightsError(
                f"{self.path}: its camera prior is {found}, expected finite numbers, lengths above "
                "0 and a pivot of three; convert the network again"
            ) from None


def open_weights(path: Path, generator: str, variant: str | None = None) -> Opened:
    """Read a weight file of any form for a generator.

    Args:
        path: the file.
        generator: name of the plugin that asks.
        variant: that the user chose.

    Raises:
        WeightsError: where it can't be read, or is for another generator.
    """
    path = Path(path)
    network = read_network(path)
    found = recognise(network, variant=variant)
    if found.generator != generator:
        other = plain_text(found.generator)
        raise WeightsError(
            f"{path}: a network for the generator '{other}', not for '{generator}'; "
            f"give --generator {other}"
        )
    if doubt := found.doubt(path, "--set generator.variant=NAME"):
        warnings.warn(doubt, stacklevel=2)
    check_tensors(path, network.used)
    options = found.architecture | ({"variant": found.variant} if found.variant else {})
    return Opened(path, network.used, options, found.camera)


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse networks of whole numbers, or that resample with another filter than published ones.

    Raises:
        WeightsError: naming the first such tensor.
    """
    for name, tensor in tensors.items():
        if name.endswith(_REAL):
            check_floating(name, tensor, path)
        if name.endswith("resample_filter") and not is_standard(tensor):
            raise WeightsError(
                f"{path}: {name} is not the filter [1, 3, 3, 1]; networks trained with other "
                "filters can't be used"
            )
