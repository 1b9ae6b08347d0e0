"""Files that mean harm: pickles that would run something, changed archives, mutations."""

from __future__ import annotations

import collections
import copyreg
import functools
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Hostile:
    """Runs something when it's unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def attacks(canary: Path) -> dict[str, Any]:
    """Objects that would make the canary if they were unpickled."""
    text = f"open({str(canary)!r}, 'w')"
    shell = Hostile(os.system, f"echo > {canary}")
    return {
        "os.system": shell,
        "builtins.eval": Hostile(eval, text),
        "functools.partial": Hostile(functools.partial(os.system, f"echo > {canary}")),
        "numpy object array": np.array([shell], dtype=object),
        "copyreg": Hostile(copyreg._reconstructor, Hostile(os.system, f"echo > {canary}")),
        "counter": collections.Counter({"a": shell}),
    }


def changed_zip(
    tree: Any, change: Callable[[dict[str, bytes]], None], packed: bool = False
) -> bytes:
    """A file of torch.save with changed members."""
    buffer, out = io.BytesIO(), io.BytesIO()
    torch.save(tree, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


# makes ./canary
SYSTEM = b"cposix\nsystem\nX\x0d\0\0\0echo > canary\x85R"
OPCODES = (SYSTEM, b"\x85R", b"\x81", b"b", b"h\x01", b"Q", b"0", b"2", b"(", b"t")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change a file a little, as a bad disk or a bad person would."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
        place = chance.randrange(len(changed))
        kind = chance.randrange(6)
        if kind == 0:
            changed[place] = chance.randrange(256)
        elif kind == 1:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del changed[place : place + chance.randrange(1, 40)]
        elif kind == 3:
            other = chance.randrange(len(changed))
            changed[place:place] = changed[other : other + chance.randrange(1, 60)]
        elif kind == 4:
            changed[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f" * 4))
        else:
            changed[place:place] = chance.choice(OPCODES)
        if not changed:
            return b"\x80"
    return bytes(changed)


ODD = (None, True, -1, 2**63, 1e400, "", "\x1b[2J", [], [[]], {}, {"a": 1}, [0, 2**62], "BF16")


def with_odd_header(data: bytes, chance: random.Random) -> bytes:
    """Put something odd into the JSON of a .safetensors file, or into the JSON in it."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = json.loads(header["__metadata__"]["inv3d"])
    if chance.randrange(2):
        made = mutated(json.dumps(oddly(metadata, chance)).encode(), chance)
        header["__metadata__"]["inv3d"] = made.decode("latin1")
    else:
        header = oddly(header, chance)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def oddly(value: Any, chance: random.Random) -> Any:
    """Return JSON with one of its values replaced."""
    if not value or not isinstance(value, dict | list) or not chance.randrange(5):
        return chance.choice(ODD)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = chance.choice(keys)
    copy = value.copy()
    copy[key] = oddly(value[key], chance)
    return copy
