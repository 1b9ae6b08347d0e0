"""Names of file formats; light, so that commands can name them at once."""

from __future__ import annotations

MESH_FORMATS = ("glb", "obj", "ply", "stl")
VIDEO_FORMATS = ("mp4", "gif")

# what is read: pictures (HEIC with another package), and what people take for pictures
PICTURES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
)
OTHER_PICTURES = frozenset((".jp2", ".exr", ".hdr", ".dng", ".svg"))
VIDEOS = frozenset(
    f".{name}" for name in "mp4 mov avi mkv webm m4v mpg mpeg 3gp mts m2ts wmv flv ogv".split()
)
