"""True latents that lie beside a training's pictures, for encoders to learn from.

Pictures of other renderers may have them too: those whose heads a generator was taught by latent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from inv3d.core.errors import InputError, WeightsError
from inv3d.core.generator import Generator
from inv3d.core.weights.tensors import read_tensors, write_tensors
from inv3d.io.capturefiles import CaptureFiles

LATENTS = "latents.safetensors"


def write_known_latents(path: Path, ws: Tensor, names: Sequence[str], fingerprint: str) -> None:
    """Write the true latents of pictures; `latents.safetensors` beside their `dataset.json`.

    Args:
        path: of the file.
        ws: [N, rows, w_dim]; one row stands for as many equal ones as the generator has.
        names: of the N pictures, as in `dataset.json`.
        fingerprint: of the generator whose latents they are.
    """
    write_tensors(path, {"ws": ws}, {"names": list(names), "fingerprint": fingerprint})


def read_known_latents(files: CaptureFiles, generator: Generator) -> Tensor | None:
    """Return the latents of all pictures of a capture, [N, num_ws, w_dim]; None without any.

    Raises:
        InputError: where they are of another generator or shape, or a picture has none.
    """
    member = f"{files.root}{LATENTS}"
    if member not in files.files.names:
        return None
    where, spec = files.files.at(member), generator.spec
    tensors, metadata = _read(files.files.read(member), where)
    if metadata.get("fingerprint") != spec.fingerprint:
        raise InputError(
            f"{where}: latents of a generator with the fingerprint {metadata.get('fingerprint')}, "
            f"but {spec.name} has {spec.fingerprint}; take the generator that they were made for, "
            "or remove the file"
        )
    ws, names = tensors.get("ws"), metadata.get("names")
    rows = {name: row for row, name in enumerate(names)} if isinstance(names, list) else {}
    shape = None if ws is None else tuple(ws.shape)
    if ws is None or shape not in {(len(rows), n, spec.w_dim) for n in (1, spec.num_ws)}:
        found = "none" if shape is None else f"shape {shape}"
        raise InputError(
            f"{where}: 'ws' with {found} for {len(rows)} names, expected "
            f"[N, 1 or {spec.num_ws}, {spec.w_dim}]; write it with write_known_latents"
        )
    if not bool(ws.isfinite().all()):
        raise InputError(f"{where}: numbers that aren't finite; write it again")
    lacking = [name for name in files.names if name not in rows]
    if lacking:
        raise InputError(
            f"{where}: no latent of {lacking[0]} ({len(lacking)} of {len(files)} pictures lack "
            "one); give one for every picture, or remove the file"
        )
    ws = ws[[rows[name] for name in files.names]].float()
    return ws.expand(-1, spec.num_ws, -1)


def _read(content: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a member of a folder or zip, of which nothing is ever extracted in place."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as copy:
        copy.write(content)
        copy.flush()
        try:
            return read_tensors(Path(copy.name))
        except WeightsError as error:
            raise InputError(str(error).replace(copy.name, where)) from None
