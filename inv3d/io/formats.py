"""Names of file formats; light, so that commands can name them at once."""

from __future__ import annotations

MESH_FORMATS = ("glb", "obj", "ply", "stl")
VIDEO_FORMATS = ("mp4", "gif")

# what is read: pictures, and what people take for pictures or give instead of them
PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"))
OTHER_PICTURES = frozenset((".heic", ".heif", ".avif", ".jp2", ".exr", ".hdr", ".dng", ".svg"))
# pictures that only `prepare` reads, some with another package
UNPREPARED = frozenset((".heic", ".heif", ".avif"))
VIDEOS = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"))
