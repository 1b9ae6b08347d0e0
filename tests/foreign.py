"""Results as other projects leave them behind, of the small network in the official format."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inv3d.core.camera import Camera, orbit
from inv3d.nn.eg3d.official import Network, read_network
from tests.golden_cases import FOLDER
from tests.pickles import dump, module, save_module

TINY = FOLDER / "official_format_tiny.pkl"
ROWS, WIDTH = 14, 512


@cache
def original() -> Network:
    return read_network(TINY)


@cache
def tuned_tensors() -> dict[str, Tensor]:
    """The network after a tuning: everything but mapping and filters has moved a little."""
    rng = torch.Generator().manual_seed(4)
    return {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=rng)
        if not name.endswith("resample_filter") and "mapping" not in name
        else tensor
        for name, tensor in original().tensors.items()
    }


def settings(**rendering: Any) -> dict[str, Any]:
    """The live attributes of the network's object."""
    known = original().settings
    return {
        "rendering_kwargs": known["rendering_kwargs"] | rendering,
        "neural_rendering_resolution": known["neural_rendering_resolution"],
        "_init_kwargs": known["init_kwargs"],
    }


def latents(count: int = 1) -> Tensor:
    """[count, 14, 512]."""
    rng = torch.Generator().manual_seed(5)
    return torch.randn(count, ROWS, WIDTH, generator=rng) * 0.5


def cameras(count: int = 1) -> Camera:
    return orbit(torch.linspace(-0.4, 0.6, count), radius=2.7, focal=4.2647, pivot=(0, 0, 0.2))


def network_pickle(**rendering: Any) -> bytes:
    """A network pickle with the tuned network as G_ema."""
    tuned = module("TriPlaneGenerator", tuned_tensors(), **settings(**rendering))
    return dump({"training_set_kwargs": None, "G_ema": tuned})


def multilatent_result(folder: Path, count: int = 3, **rendering: Any) -> Path:
    """What multi-latent inversion leaves behind, some of its intermediate steps included."""
    folder.mkdir()
    (folder / "fintuned_generator.pkl").write_bytes(network_pickle(**rendering))
    ws, cs = latents(count)[:, None].numpy(), cameras(count).labels()[:, None].numpy()
    np.savez(folder / "25_projected_w_mult.npz", ws=0 * ws, cs=cs)
    np.savez(folder / "500_projected_w_mult.npz", ws=ws, cs=cs)
    np.savez(folder / "projected_w.npz", w=ws[0])
    return folder


def multiview_result(folder: Path) -> Path:
    """What multi-view inversion and PanoHead's projector leave behind."""
    folder.mkdir()
    (folder / "fintuned_generator.pkl").write_bytes(network_pickle())
    np.savez(folder / "projected_w.npz", w=latents().numpy())
    return folder


def pti_result(folder: Path) -> Path:
    """What PTI and HFGI3D leave behind: a whole module, and the latent in a folder of its own."""
    (folder / "checkpoints").mkdir(parents=True)
    save_module(
        folder / "checkpoints" / "model_RUN_face.pt", "Generator", tuned_tensors(), **settings()
    )
    place = folder / "embeddings" / "set" / "PTI" / "face"
    place.mkdir(parents=True)
    torch.save(latents(), place / "0.pt")
    return folder


def spi_result(path: Path) -> Path:
    """What SPI leaves behind: latent, camera and state dict in one file."""
    torch.save({"w": latents(), "c": cameras().labels(), "G": tuned_tensors()}, path)
    return path
