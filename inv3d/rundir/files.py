"""The names of the files in a run directory; that of the result itself stands with `Inversion`."""

from __future__ import annotations

RECORD = "run.json"
LOG = "steps.jsonl"
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"
METRICS = "metrics.json"
REPORT = "report.html"
PREVIEWS = "previews"
VIDEO = "orbit.mp4"
VIDEO_WITHOUT_ENCODER = "orbit.gif"
MESH = "mesh.glb"
BEFORE_AFTER = "before_after.mp4"
STRENGTH_VIDEO = "strength.mp4"
