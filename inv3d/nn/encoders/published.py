"""Encoders that others published: read as data, recognised by their tensors, loaded whole or not.

The files of pSp, e4e and TriPlaneNet hold a state dict with prefixes, the options of the training,
and, of the first two, the mean latent that the encoder counts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inv3d.core.errors import WeightsError
from inv3d.core.generator import GeneratorSpec
from inv3d.core.weights.state_dict import Checkpoint, open_checkpoint
from inv3d.core.weights.tensors import check_state, load_state, make_filled
from inv3d.nn.encoders.confidence import ConfidenceNetwork
from inv3d.nn.encoders.encode import make_encoder
from inv3d.nn.encoders.options import (
    BranchOptions,
    ConfidenceOptions,
    EncoderKind,
    EncoderOptions,
    TrunkOptions,
)
from inv3d.nn.encoders.triplanenet import TriPlaneNet

W_DIM = 512
_STATE, _AVERAGE, _OPTIONS = "state_dict", "latent_avg", "opts"
_BRANCHES = ("psp_encoder", "triplanenet_encoder")
_TRUNK = ("input_layer.", "body.")
# encoder_type in the options of a training, where it's there, and how such an encoder is asked for
_KINDS: dict[str, EncoderKind] = {
    "GradualStyleEncoder": "psp",
    "Encoder4Editing": "e4e",
    "BackboneEncoderUsingLastLayerIntoW": "w",
    "BackboneEncoderUsingLastLayerIntoWPlus": "wplus",
}


@dataclass(frozen=True)
class Published:
    """A network from a file.

    Attributes:
        path: of the file.
        network: in eval mode, on the CPU.
        num_ws: latents that it makes.
        w_dim: numbers of a latent.
        average: [1 or num_ws, w_dim] that its latents are counted from, where the file has one.
        counts_from_average: whether an average is to be added to what it makes.
    """

    path: Path
    network: nn.Module
    num_ws: int
    w_dim: int
    average: Tensor | None
    counts_from_average: bool

    def check(self, spec: GeneratorSpec) -> None:
        """Refuse a generator that takes other latents; a single one fits any number of them.

        Raises:
            WeightsError: naming both.
        """
        if self.w_dim == spec.w_dim and self.num_ws in (1, spec.num_ws):
            return
        raise WeightsError(
            f"{self.path}: an encoder of {self.num_ws} latents of {self.w_dim} numbers, but "
            f"generator {spec.name} takes {spec.num_ws} of {spec.w_dim}; give an encoder that was "
            "trained for this generator, or, where one of e4e's makes more latents, take its first "
            "one (--method e4e --set deltas=0)"
        )


def read_encoder(
    path: Path, options: EncoderOptions, prefix: str = "encoder.", w_dim: int = W_DIM
) -> Published:
    """Read an encoder, such as one of pSp and e4e.

    Args:
        path: of the file.
        options: its kind, which the tensors of psp and e4e don't tell, and its sizes.
        prefix: before the names of its tensors.
        w_dim: numbers of a latent.

    Raises:
        WeightsError: where the file is missing, damaged or of another architecture.
    """
    file = open_checkpoint(path)
    _check_kind(file, options.kind)
    tensors = file.state_dict(_STATE, prefix)
    count = _latents(tensors, options.kind, w_dim)
    network = make_filled(lambda: make_encoder(options, count, w_dim), tensors, path)
    average = _average(file, count, w_dim)
    counts = _counts_from_average(file)
    return Published(path, network.eval(), count, w_dim, average, counts)


def read_triplanenet(
    path: Path,
    encoder: EncoderOptions | None = None,
    trunk: TrunkOptions | None = None,
    *,
    plane_channels: int = 96,
    w_dim: int = W_DIM,
) -> Published:
    """Read both branches of TriPlaneNet; version and way of enlarging are seen by the tensors.

    The mean latent is in another file, see `read_average`.

    Args:
        path: of the file.
        encoder: kind and sizes of the first branch; the published ones unless given.
        trunk: sizes of the second branch; likewise.
        plane_channels: of all planes of the generator together.
        w_dim: numbers of a latent.

    Raises:
        WeightsError: where the file is missing, damaged or of another architecture.
    """
    file, first = open_checkpoint(path), encoder or EncoderOptions()
    parts = {name: file.state_dict(_STATE, f"{name}.") for name in _BRANCHES}
    tensors = {f"{part}.{name}": t for part, held in parts.items() for name, t in held.items()}
    count = _latents(parts[_BRANCHES[0]], first.kind, w_dim)
    branch = _branch_in(parts[_BRANCHES[1]], trunk or TrunkOptions())

    def make() -> TriPlaneNet:
        return TriPlaneNet(first, branch, count, w_dim, plane_channels)

    network = make_filled(make, tensors, path)
    average = _average(file, count, w_dim)
    return Published(path, network.eval(), count, w_dim, average, True)


def read_average(path: Path, w_dim: int = W_DIM) -> Tensor:
    """Return the mean latent in a file that holds one, such as TriPlaneNet's of its generator.

    Args:
        path: of the file.
        w_dim: numbers of a latent.

    Returns:
        [1 or num_ws, w_dim].

    Raises:
        WeightsError: where there's none.
    """
    average = open_checkpoint(path).tensor(_AVERAGE)
    return _rows(average, path, w_dim)


def check_rows(average: Tensor, count: int, source: Path) -> None:
    """Refuse a mean latent of other latents than an encoder makes.

    Args:
        average: [rows, w_dim].
        count: latents that the encoder makes.
        source: file of the average.

    Raises:
        WeightsError: where several latents have another number of rows than one or their own.
    """
    if count > 1 and len(average) not in (1, count):
        raise WeightsError(
            f"{source}: latent_avg has {len(average)} rows, but the encoder makes {count} latents; "
            "give the file of the same training"
        )


def read_confidence(path: Path, options: ConfidenceOptions | None = None) -> ConfidenceNetwork:
    """Read unsup3d's confidence network, frozen.

    Args:
        path: of the file, which holds the other networks of that method too.
        options: its sizes; the published ones unless given.

    Raises:
        WeightsError: where the file is missing, damaged or of another architecture.
    """
    tensors = open_checkpoint(path).state_dict("netC")
    sizes = options or ConfidenceOptions()
    network = make_filled(lambda: ConfidenceNetwork(sizes), tensors, path)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def start_trunk(network: nn.Module, path: Path, rng: torch.Generator) -> None:
    """Give a network's trunk the weights of the face recognition network (model_ir_se50.pth).

    A trunk that sees more than a picture has them for its first three channels; the weights of the
    others are standard normal, as those that TriPlaneNet's second branch began with.

    Args:
        network: any encoder or branch whose trunk is IR-SE50.
        path: of the file.
        rng: draws the other weights, on the CPU.

    Raises:
        WeightsError: where the file is missing or damaged, or the trunk is another one.
    """
    tensors = open_checkpoint(path).state_dict()
    own = {n: t for n, t in network.state_dict().items() if n.startswith(_TRUNK)}
    given = {n: t for n, t in tensors.items() if n.startswith(_TRUNK)}
    first = "input_layer.0.weight"
    colours = (len(own.get(first, ())), 3, 3, 3)
    if first in given and given[first].shape == colours and (more := own[first].shape[1] - 3) > 0:
        noise = torch.randn(len(own[first]), more, 3, 3, generator=rng)
        given[first] = torch.cat([given[first], noise], dim=1)
    check_state(own, given, path)
    rest = {n: t for n, t in network.state_dict().items() if n not in own}
    load_state(network, rest | given, path)


def _latents(tensors: Mapping[str, Tensor], kind: EncoderKind, w_dim: int) -> int:
    """Return how many latents an encoder makes, by its tensors; 1 where they don't tell."""
    if kind == "wplus":
        return max(1, tensors.get("linear.bias", torch.empty(0)).numel() // w_dim)
    blocks = (n for n in tensors if n.startswith("styles.") and n.endswith(".linear.bias"))
    return max(1, len(list(blocks)))


def _branch_in(tensors: Mapping[str, Tensor], trunk: TrunkOptions) -> BranchOptions:
    """Return the options of the second branch that has these tensors."""
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    shape = tensors.get("input_layer.0.weight", torch.empty(0)).shape
    first, second = (sizes.get(f"up{n}.conv.double_conv.1.bias", 0) for n in (1, 2))
    shuffled = 4 * second == 3 * first > 0  # channels; without, it has half as many
    return BranchOptions(
        version=1 if shape[1:2] == (6,) else 2, pixel_shuffle=shuffled, trunk=trunk
    )


def _average(file: Checkpoint, count: int, w_dim: int) -> Tensor | None:
    if _AVERAGE not in file.names:
        return None
    average = _rows(file.tensor(_AVERAGE), file.path, w_dim)
    check_rows(average, count, file.path)
    return average


def _rows(average: Tensor, path: Path, w_dim: int) -> Tensor:
    rows = average.float().reshape(-1, average.shape[-1] if average.ndim else 1)
    if rows.shape[1] != w_dim or average.ndim > 3:
        raise WeightsError(
            f"{path}: latent_avg has the shape {tuple(average.shape)}, expected [{w_dim}] or "
            f"[latents, {w_dim}]; give the file that belongs to the encoder"
        )
    return rows


def _counts_from_average(file: Checkpoint) -> bool:
    """Whether the training's options say so; they do unless they deny it."""
    return _options(file).get("start_from_latent_avg") is not False


def _check_kind(file: Checkpoint, kind: EncoderKind) -> None:
    """Refuse a file whose training's options name an encoder of another kind."""
    said = _options(file).get("encoder_type")
    true = _KINDS.get(said, kind) if isinstance(said, str) else kind
    if true != kind:
        method = "e4e" if true == "e4e" else f"psp --set encoder.kind={true}"
        raise WeightsError(
            f"{file.path}: holds an encoder of the kind '{true}' ({said}), and one of the kind "
            f"'{kind}' was asked for; take --method {method}"
        )


def _options(file: Checkpoint) -> Mapping[str, Any]:
    return file.options(_OPTIONS) if _OPTIONS in file.names else {}
