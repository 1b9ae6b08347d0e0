"""The weight files that plugins know: what they are, where they come from, where they lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from inv3d.core.errors import RunError, WeightsError
from inv3d.core.files import file_digest

DIRECTORY = "INV3D_WEIGHTS"
PART = ".part"
State = Literal["here", "missing", "part", "other size"]


@dataclass(frozen=True)
class WeightFile:
    """A file that a plugin can use, and that this package mustn't or needn't contain.

    Attributes:
        name: of the file; two plugins that name the same file share it.
        purpose: what it is, in a few words.
        licence: of the weights.
        page: where it officially lives, for people.
        url: of the file itself; empty where it can't be downloaded directly.
        size: bytes; None where it isn't known.
        sha256: 64 hex digits; empty where nobody published it.
        noncommercial: whether the licence forbids commercial use, or leaves it open.
        fits: names of the generator variants (`GeneratorSpec.name`) that it works with; empty
            where it doesn't depend on the generator.
        option: how a user gives the path of a copy, such as "--weights PATH".
        without: what works without it, for the message where it's missing.

    Raises:
        ValueError: where a plugin's author wrote down something impossible.
    """

    name: str
    purpose: str
    licence: str
    page: str
    url: str = ""
    size: int | None = None
    sha256: str = ""
    noncommercial: bool = False
    fits: tuple[str, ...] = ()
    option: str = "--weights PATH"
    without: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.+-]*", self.name):
            raise ValueError(f"weight file {self.name!r}: expected a plain file name")
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.name}: sha256 {self.sha256!r} isn't 64 lower-case hex digits")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise ValueError(f"{self.name}: url {self.url!r} isn't an http address")

    @property
    def destination(self) -> Path:
        """Where a download goes."""
        return weights_dir() / self.name

    @property
    def state(self) -> State:
        """Whether it is there, as far as can be said without reading it."""
        path = self.find()
        if path is None:
            return "part" if part_of(self.destination).is_file() else "missing"
        return "here" if self.size in (None, path.stat().st_size) else "other size"

    def find(self) -> Path | None:
        """Return where it lies, or None."""
        paths = (folder / self.name for folder in searched_folders())
        return next((path for path in paths if path.is_file()), None)

    def locate(self, owner: str = "") -> Path:
        """Return where it lies.

        Args:
            owner: who needs it, for the message, such as "loss arcface".

        Raises:
            WeightsError: where it's nowhere: what it is, where to get it, where to put it, and
                what works without it.
        """
        path = self.find()
        if path is None:
            raise self.missing(owner)
        return path

    def missing(self, owner: str = "", reason: str = "") -> WeightsError:
        """Return the error to raise where it isn't there.

        Args:
            owner: who needs it, such as "loss arcface".
            reason: why it can't be downloaded, where that was tried.
        """
        # whoever has to accept a licence should see the page that has it
        source = self.url if self.url and not self.noncommercial else self.page
        command = "" if reason or not self.url else f"run '3dinv weights fetch {self.name}', or "
        parts = [
            f"{owner}{': ' if owner else ''}{self.name} ({self.purpose}) "
            + (f"can't be downloaded ({reason})" if reason else "isn't there"),
            f"{command}get it from {source} and put it at {self.destination}, or give "
            f"{self.option}",
            self.without,
        ]
        return WeightsError("; ".join(filter(None, parts)))

    def misfit(self, variant: str) -> str:
        """Say that it was made for another generator, naming both; empty where it fits.

        Args:
            variant: `GeneratorSpec.name` of the generator.
        """
        if not self.fits or variant in self.fits:
            return ""
        return (
            f"{self.name} is made for {' or '.join(self.fits)}, but the generator is {variant}: "
            "expect poor results; take weights that were made for this generator"
        )

    def verify(self, path: Path) -> None:
        """See that the file at `path` is this one, as far as its size and checksum are known.

        Raises:
            WeightsError: where it's another one, or damaged.
        """
        try:
            size = path.stat().st_size
            if self.size not in (None, size):
                raise self._another(path, f"{size} bytes, expected {self.size}")
            found = file_digest(path) if self.sha256 else ""
        except OSError as error:
            raise WeightsError(f"{path}: can't be read ({error.strerror})") from error
        except RunError as error:
            raise WeightsError(str(error)) from error
        if found != self.sha256:
            raise self._another(path, f"SHA-256 is {found}, expected {self.sha256}")

    def _another(self, path: Path, said: str) -> WeightsError:
        return WeightsError(
            f"{path}: {said}: damaged, or another file; delete it and run '3dinv weights fetch "
            f"{self.name}'"
        )


def weights_dir() -> Path:
    """Return where downloads go: $INV3D_WEIGHTS, else a folder in the user's cache."""
    named = os.environ.get(DIRECTORY)
    cache = platformdirs.user_cache_path("3dinv", appauthor=False)
    return Path(named).expanduser() if named else cache / "weights"


def searched_folders() -> tuple[Path, ...]:
    """Return where files are looked for: our folder, then PyTorch's cache, which may have them."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
    return weights_dir(), torch_home / "hub" / "checkpoints"


def part_of(path: Path) -> Path:
    """Return where a file's first bytes are kept while it's being downloaded."""
    return path.with_name(path.name + PART)


def resolve_path(path: Path | None, files: Iterable[WeightFile], owner: str) -> Path | None:
    """Return the path that a user means: the bare name of a known file finds it where it lies.

    Args:
        path: as the user gave it, relative to the working directory.
        files: that the plugin knows.
        owner: the plugin, for the message.

    Raises:
        WeightsError: where a known file is named and it's nowhere.
    """
    if path is None:
        return None
    known = next((file for file in files if file.name == str(path)), None)
    if known is None or os.path.exists(path):
        return path.absolute()
    return known.locate(owner)


def known_as(path: Path | None, files: Iterable[WeightFile]) -> WeightFile | None:
    """Return the known file that a path seems to be, by its name without the ending."""
    stem = path.stem if path is not None else None
    return next((file for file in files if Path(file.name).stem == stem), None)
