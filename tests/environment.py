"""A virtual environment that sees this one's packages, for distributions that are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# how distributions are built and installed without a network
PIP = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


class Environment:
    """A virtual environment that sees this one's packages as well."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        seen = [path for path in (*sys.path, str(ROOT)) if Path(path).is_dir()]
        (site / "seen.pth").write_text("\n".join(seen))

    def pip(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.python, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.python_run("-m", "inv3d", *arguments, **variables)

    def python_run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("INV3D_")}
        return subprocess.run(
            [self.python, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=clean | variables,
            cwd=self.python.parent,
        )

    def rows(self, *arguments: str, **variables: str) -> dict[tuple[str, str], dict[str, Any]]:
        done = self.run("list-plugins", "--json", *arguments, **variables)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        return {(row["name"], row["distribution"]): row for row in rows}
