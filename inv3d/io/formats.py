"""Names of the file formats that are written; light, so that commands can name them at once."""

from __future__ import annotations

MESH_FORMATS = ("glb", "obj", "ply", "stl")
VIDEO_FORMATS = ("mp4", "gif")
