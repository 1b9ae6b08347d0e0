"""What installed this environment, and how plugins are kept when it's renewed."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def requirement(distribution: str) -> str:
    """Return the line by which pip installs a distribution as it is here."""
    found = importlib.metadata.distribution(distribution)
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        origin = {}
    url, vcs = origin.get("url", ""), origin.get("vcs_info", {})
    if vcs:
        commit = vcs.get("commit_id", "")
        return f"{distribution} @ {vcs.get('vcs', 'git')}+{url}" + (f"@{commit}" if commit else "")
    return f"{distribution} @ {url}" if url else f"{distribution}=={found.version}"


def installer(prefix: Path = Path(sys.prefix), distribution: str = "3dinv") -> str:
    """Return what installed a distribution: "uv tool", "pipx", or what its metadata say.

    Args:
        prefix: of the environment.
        distribution: that was installed.
    """
    parts = [part.lower() for part in prefix.parts]
    if (prefix / "uv-receipt.toml").is_file() or parts[-3:-1] == ["uv", "tools"]:
        return "uv tool"
    if (prefix / "pipx_metadata.json").is_file() or "pipx" in parts:
        return "pipx"
    try:
        said = importlib.metadata.distribution(distribution).read_text("INSTALLER")
    except importlib.metadata.PackageNotFoundError:
        said = ""
    return (said or "").strip() or "pip"


def keeping(name: str, plugins: Sequence[str]) -> str:
    """Return the line that keeps plugins when 3dinv is installed anew or upgraded.

    Args:
        name: of the installer.
        plugins: distributions.
    """
    if name == "uv tool":
        return "uv tool install --upgrade 3dinv" + "".join(f" --with {p}" for p in plugins)
    if name == "pipx":
        return f"pipx inject 3dinv {' '.join(plugins)}" if plugins else "pipx upgrade 3dinv"
    pip = "uv pip" if name == "uv" else "pip"
    return (
        "3dinv list-plugins --format requirements > plugins.txt, and then "
        f"{pip} install -r plugins.txt"
    )
