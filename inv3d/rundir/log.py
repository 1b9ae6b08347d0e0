"""The step log of a run: one JSON line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOG = "steps.jsonl"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a step log; a last line that was cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
