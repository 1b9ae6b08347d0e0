"""Write views of a head that the generator made: `python make_capture.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from inv3d import colour_frames, load_generator, save_png, toy_capture, write_labels


def main(folder: Path, **options: int) -> None:
    """Render nine views of a known head and write them with their cameras."""
    capture = toy_capture(load_generator("gaussians", options), 9, seed=3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(capture.names, colour_frames(capture.images), strict=True):
        save_png(folder / name, frame)
    write_labels(folder / "dataset.json", capture.camera, capture.names)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
