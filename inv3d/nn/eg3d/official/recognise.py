"""Telling from a network's tensors and settings which generator it is for, and how it's built.

Shapes decide whatever they can; settings decide the rest, where the file has any; what neither
says is left to the variant's defaults. This is the one place that knows the official names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inv3d.core.config import merge
from inv3d.core.errors import WeightsError, plain_text
from inv3d.core.registry.known_plugins import KnownPlugin
from inv3d.core.registry.recognition import reader_of
from inv3d.nn.eg3d.official.entries import SIGN
from inv3d.nn.eg3d.official.network import Network
from inv3d.nn.stylegan2 import default_channels
from inv3d.nn.superresolution import KINDS, SuperresolutionName

GENERATORS = ("eg3d", "panohead")
# world axes along width and height of the three planes
PLANE_AXES = {
    ((0, 1), (0, 2), (2, 0)): "eg3d",
    ((0, 1), (0, 2), (2, 1)): "corrected",
    ((0, 1), (1, 2), (2, 0)): "cyclic",
    ((0, 1), (0, 2), (1, 2)): "panohead",
}
# what tells EG3D's variants apart where settings and shapes don't: the names of published files and
# of the data they were trained with
_NAMED = (
    ("ffhq-rebalanced", r"rebalanced"),
    ("lpff", r"lpff|\bvar\d-\d+"),
    ("afhq", r"afhq|cats?\d"),
    ("shapenet", r"shapenet|srn_?cars"),
    ("ffhq", r"ffhq"),
)
_RAYS = (
    "ray_start", "ray_end", "box_warp", "depth_resolution", "depth_resolution_importance",
    "disparity_space_sampling", "clamp_mode", "white_back",
)  # fmt: skip
SHAPENET_RADIUS = 1.7
# arguments of StyleGAN2's networks of which one value is taken
_ONLY = {"activation": "lrelu", "architecture": "skip"}
# tensors of PanoHead alone
_PANOHEADS = ("t_mapping.w_avg", "bcg_synthesis.b4.const", "torgb.weight")
# what makes planes and what reads them; the noise of the first and of the last layer
_PLANES, _DECODER = "backbone.synthesis.b4.torgb.weight", "decoder.net.0.weight"
_NOISE_BEFORE = "backbone.synthesis.b4.conv1.noise_const"
_NOISE = "superresolution.block1.conv1.noise_const"
_SIGNS = (SIGN, "backbone.mapping.fc0.weight", _DECODER)


@dataclass(frozen=True)
class Recognised:
    """What a network is.

    Attributes:
        generator: name of the plugin.
        variant: of the generator.
        because: what told the variant.
        sure: whether that leaves no other published variant.
        architecture: options of the generator that tensors and settings decide.
        sizes: those among them that tensors alone decide.
        camera: what settings say of the camera prior: "radius", "pivot"; may be empty.
    """

    generator: str
    variant: str
    because: str
    sure: bool
    architecture: dict[str, Any]
    sizes: dict[str, Any] = field(default_factory=dict)
    camera: dict[str, Any] = field(default_factory=dict)

    def doubt(self, path: Path, option: str) -> str:
        """Say that the variant is a guess and which option settles it; empty where it's sure."""
        if self.sure:
            return ""
        return (
            f"{path}: taken for the variant '{self.variant}' ({self.because}); another one is "
            f"chosen with {option}"
        )


def recognise(
    network: Network, generator: str | None = None, variant: str | None = None
) -> Recognised:
    """Tell generator, variant and architecture of a network.

    Args:
        network: as a file holds it.
        generator: overrules the guess.
        variant: overrules the guess.

    Raises:
        WeightsError: where the network is of no known architecture.
    """
    stored = network.metadata
    named = stored.get("name")
    if named is not None and named not in GENERATORS:
        return Recognised(str(named), variant or "", "the file says so", True, {})
    if generator is None and (other := reader_of(network.tensors)) is not None:
        return Recognised(
            _read_by(network.path, other), variant or "", "its tensors say so", True, {}
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in network.tensors.items()}
    missing = [name for name in _SIGNS if name not in shapes]
    if missing:
        held = ", ".join(plain_text(name) for name in list(shapes)[:3]) or "nothing"
        raise WeightsError(
            f"{network.path}: a network of another architecture: it has no {missing[0]} (its "
            f"tensors: {held}, ...); give a generator of EG3D or PanoHead"
        )
    generator = generator or named or _generator(network)
    try:
        known = _Known(network, shapes, generator == "panohead")
        name, because, sure = known.variant()
        camera = known.camera(variant in (None, name))
        if variant is not None:
            name, because, sure = variant, "chosen by the user", True
        sizes = known.sizes()
        options = merge(known.settled(), sizes)
        return Recognised(generator, name, because, sure, options, sizes, camera)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = "settings of unknown kinds"
        if isinstance(error, KeyError):
            reason = f"no {error.args[0]}"
        elif isinstance(error, ValueError):
            reason = str(error)
        raise WeightsError(
            f"{network.path}: a network of another architecture ({plain_text(reason)}); give a "
            "generator of EG3D or PanoHead"
        ) from None


def _read_by(path: Path, reader: str | KnownPlugin) -> str:
    """Return the generator of a plugin that reads a network.

    Raises:
        WeightsError: where it isn't installed.
    """
    if isinstance(reader, KnownPlugin):
        raise WeightsError(
            f"{path}: a network for the generator '{reader.name}' of {reader.distribution}, which "
            f"isn't installed; {reader.install}"
        )
    return reader


def _generator(network: Network) -> str:
    """EG3D and PanoHead share class names; only PanoHead maps a camera shift, has a background or
    a tri-grid, which a state dict shows by how many channels the planes have for the decoder's.
    """
    rendering = _table(network.settings.get("rendering_kwargs"))
    if "triplane_depth" in rendering or any(name in network.tensors for name in _PANOHEADS):
        return "panohead"
    made, read = (network.tensors.get(name) for name in (_PLANES, _DECODER))
    if made is None or read is None or read.ndim != 2:
        return "eg3d"
    return "eg3d" if len(made) == 3 * read.shape[1] else "panohead"


class _Known:
    """What is known of a network: shapes by name, and what else the file has.

    Attributes:
        stored: the architecture that 3dinv wrote into the file; may be empty.
        rendering, init: rendering options and constructor arguments of the pickled object; may be
            empty.
    """

    def __init__(
        self, network: Network, shapes: Mapping[str, tuple[int, ...]], panohead: bool
    ) -> None:
        self.network = network
        self.shapes = shapes
        self.panohead = panohead
        self.live = network.settings
        self.stored = _table(network.metadata.get("architecture"))
        self.rendering = _table(self.live.get("rendering_kwargs"))
        self.init = _table(self.live.get("init_kwargs"))

    def sizes(self) -> dict[str, Any]:
        """What shapes decide, whatever else the file says."""
        shapes = self.shapes
        channels = self.channels("backbone.synthesis")
        features = shapes[_DECODER][1]
        options = {
            **self.mapping(),
            **self.channel_rule(channels),
            "plane_resolution": 4 << (len(channels) - 1),
            "plane_channels": features,
            "decoder_hidden": shapes[_DECODER][0],
            "decoder_channels": shapes["decoder.net.2.weight"][0] - 1,
            "use_noise": _NOISE_BEFORE in shapes,
            "img_resolution": self.size(),
            "superresolution": self.superresolution(),
        }
        depth = shapes[_PLANES][0] // (3 * features)
        return options | (self.trigrid(depth) if self.panohead else {})

    def settled(self) -> dict[str, Any]:
        """What isn't seen in shapes, where the file says it."""
        if self.stored or not self.rendering:
            return self.stored
        r, init = self.rendering, self.init
        mapping = _table(init.get("mapping_kwargs"))
        for table in (init, mapping, _table(init.get("sr_kwargs"))):
            _refuse_others(table)
        options: dict[str, Any] = {
            "mapping": {"lr_multiplier": mapping.get("lr_multiplier", 0.01)},
            "c_scale": r.get("c_scale", 0.0),
            "c_gen_conditioning_zero": r.get("c_gen_conditioning_zero", False),
            "decoder_lr_mul": r.get("decoder_lr_mul", 1.0),
            "rendering": {name: r[name] for name in _RAYS if name in r},
        }
        for name in ("avg_camera_radius", "avg_camera_pivot"):
            if name in r:
                options[name] = r[name]
        # what isn't said there is what the official constructors take
        given = {"conv_clamp": 256.0, "sr_num_fp16_res": 0} | init if init else {}
        if "conv_clamp" in given:
            options["conv_clamp"] = given["conv_clamp"]
        found = {
            "num_fp16_res": given.get("sr_num_fp16_res"),
            "antialias": r.get("sr_antialias"),
            "noise_mode": r.get("superresolution_noise_mode"),
        }
        options["superresolution"] = {n: v for n, v in found.items() if v is not None}
        if "neural_rendering_resolution" in self.live:
            options["neural_rendering_resolution"] = self.live["neural_rendering_resolution"]
        if "plane_axes" in self.live:
            options["plane_axes"] = axes_of(self.live["plane_axes"])
        if self.panohead and "decoder_activation" in r:
            options["decoder_activation"] = r["decoder_activation"]
        return options

    def mapping(self) -> dict[str, Any]:
        """The mapping network."""
        start = "backbone.mapping."
        layers = sum(bool(re.fullmatch(rf"{start}fc\d+\.weight", name)) for name in self.shapes)
        first = self.shapes[f"{start}fc0.weight"]
        w_dim = self.shapes["backbone.synthesis.b4.conv1.affine.weight"][1]
        if self.shapes[f"{start}fc{layers - 1}.weight"][0] != w_dim:
            raise KeyError(f"{start}fc{layers}.weight")
        embed, c_dim = self.shapes.get(f"{start}embed.weight", (0, 0))
        return {
            "z_dim": first[1] - embed,
            "w_dim": w_dim,
            "c_dim": c_dim,
            "mapping": {
                "layers": layers,
                "embed_features": embed if c_dim and embed != w_dim else None,
                "layer_features": first[0] if layers > 1 and first[0] != w_dim else None,
            },
        }

    def channels(self, start: str) -> tuple[int, ...]:
        """Channels of the blocks of a synthesis network, from 4 x 4 upwards."""
        pattern = re.compile(rf"{re.escape(start)}\.b(\d+)\.conv1\.weight")
        sizes = sorted(int(m[1]) for name in self.shapes if (m := pattern.fullmatch(name)))
        lost = sorted({4 << index for index in range(len(sizes))}.difference(sizes))
        if lost:
            raise KeyError(f"{start}.b{lost[0]}.conv1.weight")
        return tuple(self.shapes[f"{start}.b{size}.conv1.weight"][0] for size in sizes)

    def channel_rule(self, channels: tuple[int, ...]) -> dict[str, Any]:
        """The rule that makes these channels, or the channels themselves."""
        base, most = self.rule()
        if tuple(default_channels(4 << (len(channels) - 1), base, most)) == channels:
            return {"channel_base": base, "channel_max": most, "channels": None}
        return {"channels": channels}

    def rule(self) -> tuple[int, int]:
        """Channels of a block times its size, and at most."""
        said = self.stored or self.init
        return said.get("channel_base", 32768), said.get("channel_max", 512)

    def size(self) -> int:
        """Pixels a side of the final image."""
        if self.noisy():
            return self.shapes[_NOISE][0]
        if said := self.stored.get("img_resolution", self.live.get("img_resolution")):
            return int(said)
        if "superresolution.resample_filter" in self.shapes:  # one of two sizes
            raise KeyError(_NOISE)
        return KINDS["8XDC"].input_resolution * KINDS["8XDC"].factor

    def noisy(self) -> bool:
        """Whether super-resolution has noise maps."""
        return any(
            n.startswith("superresolution.") and n.endswith("noise_const") for n in self.shapes
        )

    def superresolution(self) -> dict[str, Any]:
        """The super-resolution module, by name where the file has it, and its sizes."""
        known = _table(self.stored.get("superresolution")).get("module")
        path = str(self.rendering.get("superresolution_module", ""))
        named = known or path.rpartition("Hybrid")[2]
        if named or path:
            module = next((kind for kind in KINDS if kind == named), None)
            if module is None:
                raise ValueError(f"super-resolution {known or path}, expected {', '.join(KINDS)}")
        else:
            module = self.superresolution_kind()
        kind = KINDS[module]
        first, second = (
            self.shapes[f"superresolution.block{index}.conv1.weight"][0] for index in (0, 1)
        )
        own = self.noisy()
        usual = self.size() == kind.input_resolution * kind.factor
        return {
            "module": module,
            "channels": None if (first, second) == kind.channels else (first, second),
            "input_resolution": None if usual else self.size() // kind.factor,
            "use_noise": None if own == (_NOISE_BEFORE in self.shapes) else own,
        }

    def superresolution_kind(self) -> SuperresolutionName:
        """The module with such tensors; Deepfp32, which looks like 4X, was never published."""
        wide = self.shapes["superresolution.block0.conv1.weight"][0] == 256
        if "superresolution.resample_filter" not in self.shapes or self.size() == 512:
            return "8XDC" if wide else "8X"
        return "4X" if self.size() == 256 else "2X"

    def trigrid(self, depth: int) -> dict[str, Any]:
        """What PanoHead has besides."""
        options: dict[str, Any] = {
            "plane_depth": depth,
            "torgb_raw": "torgb.weight" in self.shapes,
            "background": "bcg_synthesis.b4.const" in self.shapes,
            "camera_shift": "t_mapping.w_avg" in self.shapes,
        }
        if options["background"]:
            found = self.channels("bcg_synthesis")
            base, most = self.rule()
            usual = tuple(default_channels(4 << (len(found) - 1), base // 2, most)) == found
            options["background_channels"] = None if usual else found
        return options

    def camera(self, own: bool) -> dict[str, Any]:
        """What the file says of the training cameras.

        PanoHead's settings are those of EG3D's faces, though its heads stand in the middle.

        Args:
            own: whether the network is taken for the variant that the file says; the camera prior
                that 3dinv stored is that variant's.
        """
        if self.stored and own:
            return _table(self.network.metadata.get("camera"))
        if self.panohead:
            return {}
        said = self.stored or self.rendering
        names = {"radius": "avg_camera_radius", "pivot": "avg_camera_pivot"}
        return {name: said[setting] for name, setting in names.items() if setting in said}

    def variant(self) -> tuple[str, str, bool]:
        """Variant, what told it, and whether it's certain."""
        said = self.network.metadata.get("variant") or self.stored.get("variant")
        if said or self.stored:
            guess = plain_text(str(self.network.metadata.get("guess") or ""))
            return str(said or ""), guess or "the file says so", not guess
        if self.panohead:
            head = "bcg_synthesis.b4.const" in self.shapes
            return (
                ("head", "it has a background network", True)
                if head
                else ("plain", "it has no background network", True)
            )
        if self.rendering.get("avg_camera_radius") == SHAPENET_RADIUS:
            return "shapenet", f"its cameras are {SHAPENET_RADIUS} from the middle", True
        pivot = self.rendering.get("avg_camera_pivot")
        if isinstance(pivot, list) and len(pivot) == 3 and pivot[2] < 0:
            return "afhq", f"its cameras look at {tuple(pivot)}", True
        for text in self.hints():
            for name, pattern in _NAMED:
                if re.search(pattern, text.lower()):
                    return name, f"the name {plain_text(text)!r}", True
        if self.size() == 128 and not self.rendering:
            return "shapenet", "its pictures have 128 pixels", False
        return "ffhq", "networks of FFHQ, FFHQ rebalanced and LPFF look alike", False

    def hints(self) -> Iterator[str]:
        yield self.network.path.name
        training = _table(self.live.get("training_set"))
        if isinstance(training.get("path"), str):
            yield training["path"].replace("\\", "/").rpartition("/")[2]


def _refuse_others(arguments: Mapping[str, Any]) -> None:
    """Refuse what tensors don't show and nothing here computes.

    Raises:
        ValueError: naming the argument.
    """
    for name, taken in _ONLY.items():
        value = arguments.get(name, taken)
        if value != taken:
            raise ValueError(f"{name} {value}, expected {taken}")


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def axes_of(matrices: Any) -> str:
    """Name the planes that three 3 x 3 matrices of world axes span.

    A matrix's first two rows are the axes along a plane's width and height.

    Raises:
        ValueError: where they aren't any that are known.
    """
    pairs = tuple(tuple(_axis(row) for row in matrix[:2]) for matrix in matrices)
    if pairs not in PLANE_AXES:
        drawn = ", ".join("".join("xyz"[axis] for axis in pair) for pair in pairs)
        raise ValueError(f"planes along {drawn}")
    return PLANE_AXES[pairs]


def _axis(row: list[float]) -> int:
    if sorted(row) != [0.0, 0.0, 1.0]:
        raise ValueError("planes that aren't along the world's axes")
    return row.index(1.0)
