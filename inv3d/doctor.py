"""What this machine can do with 3dinv, and how to put right what it can't."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from inv3d.core.errors import InvError

if TYPE_CHECKING:
    from inv3d.core.weights.known import WeightFile

State = Literal["ok", "warning", "missing"]
GENERATOR = "minihead"
OWN = "3dinv"
_PYTHON = (3, 11)
_RAYS = 16
_GET_TORCH = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        check: what was looked at.
        state: ok; warning where something works less well; missing where it isn't there.
        found: what was found.
        fix: what to do about it, empty where it's ok.
        fatal: nothing runs because of it.
    """

    check: str
    state: State
    found: str
    fix: str = ""
    fatal: bool = False


def examine() -> Iterator[Finding]:
    """Yield a finding for everything; a check that fails itself is a finding too."""
    general = (
        versions,
        installed_by,
        torch_build,
        devices,
        processor,
        embedded_generator,
        video,
        extras,
    )
    for check in (*general, plugins, weights):
        yield from _guarded(check)


def _guarded(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, InvError) else f"{type(error).__name__}: {error}"
        name = check.__name__.replace("_", " ")
        fix = f"reinstall: pip install --force-reinstall {installed_from()}"
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            text, fix = "needs PyTorch", "see the line of PyTorch"
        yield Finding(name, "missing", _first_line(text), fix, fatal=check is embedded_generator)


def versions() -> Iterator[Finding]:
    """Python and 3dinv itself."""
    new = sys.version_info >= _PYTHON
    needed = ".".join(map(str, _PYTHON))
    yield Finding(
        "Python",
        "ok" if new else "warning",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if new else f"use Python {needed} or newer",
    )
    yield Finding(OWN, "ok", importlib.metadata.version(OWN))


def installed_by() -> Iterator[Finding]:
    """What installed 3dinv, and how plugins of others outlive an upgrade."""
    from inv3d.core.registry.discovery import registry
    from inv3d.core.registry.installer import installer, keeping

    name = installer()
    others = sorted({r.distribution for r in registry().records if not r.own and r.version})
    found = f"{name}; {len(others)} packages with plugins: {', '.join(others)}" if others else name
    kept = keeping(name, others)
    yield Finding("installer", "ok", found + (f"; to keep them: {kept}" if others else ""))


def torch_build() -> Iterator[Finding]:
    """PyTorch and what it was built for."""
    try:
        with warnings.catch_warnings(record=True) as said:
            import torch
    except Exception as error:
        # a second import of what is half imported may crash
        sys.modules["torch"] = None  # type: ignore[assignment]
        text = f"can't be imported ({_first_line(str(error))})"
        yield Finding("PyTorch", "missing", text, f"pip install -U torch, see {_GET_TORCH}")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
    yield Finding("PyTorch", "ok", f"{torch.__version__}, built for {build}")
    for warning in said:
        fix = getattr(warning.message, "fix", f"see {_GET_TORCH}")
        found = getattr(warning.message, "found", str(warning.message))
        yield Finding("PyTorch", "warning", _first_line(found), fix)


def devices() -> Iterator[Finding]:
    """CUDA devices that really compute, or why there are none."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if not usable:
        yield _no_cuda(torch.version.cuda is not None, _driver(), [str(w.message) for w in said])
        return
    for index in range(torch.cuda.device_count()):
        yield _device(torch, index)


def _device(torch: Any, index: int) -> Finding:
    check = f"CUDA device {index}"
    facts = torch.cuda.get_device_properties(index)
    name = f"{facts.name} (compute capability {facts.major}.{facts.minor})"
    try:
        torch.ones(2, device=f"cuda:{index}").sum().item()
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        fix = f"install a PyTorch that is built for this device, see {_GET_TORCH}; or --device cpu"
        return Finding(check, "warning", f"{name}: {_first_line(str(error))}", fix)
    return Finding(check, "ok", f"{name}, {_size(total)}, {_size(free)} free")


def _driver() -> bool:
    """Whether an NVIDIA driver is installed."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _no_cuda(built: bool, driver: bool, said: list[str]) -> Finding:
    """Say why there's no CUDA device.

    Args:
        built: PyTorch was built for CUDA.
        driver: there's an NVIDIA driver.
        said: PyTorch's own warnings.
    """
    found = "none; everything runs on the CPU"
    if driver and not built:
        fix = f"install a PyTorch that is built for CUDA, see {_GET_TORCH}"
    elif driver:
        found += f" ({_first_line(said[0])})" if said else ""
        fix = "update the NVIDIA driver; see whether CUDA_VISIBLE_DEVICES hides the device"
    else:
        fix = "none needed; a machine with an NVIDIA card and its driver is faster"
    return Finding("CUDA device", "warning", found, fix)


def processor() -> Iterator[Finding]:
    """Threads and memory of the CPU."""
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU", "ok", f"{usable} processors, {torch.get_num_threads()} used")
    total, free = memory()
    if total is None:
        yield Finding("memory", "warning", "unknown on this system", "look at it yourself")
    else:
        yield Finding("memory", "ok", _size(total) + (f", {_size(free)} free" if free else ""))


def memory(root: Path = Path("/")) -> tuple[int | None, int | None]:
    """Return the bytes of memory that a process may use, and those that are free, where known.

    Args:
        root: of the file system in which the kernel shows its numbers.
    """
    total = free = None
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if ":" in line}
        total, free = sizes["MemTotal"], sizes.get("MemAvailable")
    except (OSError, ValueError, IndexError, KeyError):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = root / "sys/fs/cgroup"
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(group / name)
        if limit is not None and total is not None and limit < total:
            return limit, None
    return total, free


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def embedded_generator() -> Iterator[Finding]:
    """The embedded generator renders a picture, on the best device or else on the CPU."""
    from inv3d.core.device import resolve_device

    best = str(resolve_device("auto"))
    failures: list[str] = []
    for name in dict.fromkeys((best, "cpu")):
        try:
            seconds = _render(name)
        except Exception as error:
            failures.append(f"on {name}: {_first_line(str(error)) or type(error).__name__}")
            continue
        text = f"{GENERATOR} loads and renders on {name} in {seconds:.1f} s"
        if failures:
            fix = "use --device cpu, or put the device right"
            yield Finding("embedded generator", "warning", f"{text}; {failures[0]}", fix)
        else:
            yield Finding("embedded generator", "ok", text)
        return
    fix = f"reinstall it: pip install --force-reinstall {installed_from()}"
    found = f"{GENERATOR} can't run {'; '.join(failures)}"
    yield Finding("embedded generator", "missing", found, fix, fatal=True)


def _render(device: str) -> float:
    """Build the embedded generator, render a small picture and return the seconds it took."""
    import torch

    from inv3d.core.generator import load_generator

    started = time.perf_counter()
    made = load_generator(GENERATOR, device=device)
    camera = made.spec.camera.front().to(device)
    with torch.no_grad():
        scene = made.synthesize(made.map(torch.zeros(1, made.spec.z_dim, device=device)))
        image = made.render(scene, camera, resolution=_RAYS).require("image")
    if not bool(image.isfinite().all()):
        raise RuntimeError("its picture isn't finite")
    return time.perf_counter() - started


def video() -> Iterator[Finding]:
    """The codec of a video that is really written."""
    import numpy as np

    from inv3d.io.video import write_video

    update = "pip install -U av"
    with tempfile.TemporaryDirectory() as folder:
        frames = [np.full((16, 16, 3), 40 * i, np.uint8) for i in range(3)]
        try:
            codec = write_video(Path(folder) / "a.mp4", frames)
        except Exception as error:
            found = f"no MP4, turntables are GIFs ({_first_line(str(error))})"
            yield Finding("video", "missing", found, update)
            return
    version = importlib.metadata.version("av")
    if codec == "h264":
        yield Finding("video", "ok", f"H.264 through PyAV {version}")
    else:
        found = f"PyAV {version} encodes {codec} only, which browsers don't play"
        yield Finding("video", "warning", found, update)


def extras() -> Iterator[Finding]:
    """The optional parts of this distribution."""
    wanted: dict[str, list[str]] = {}
    for text in importlib.metadata.requires(OWN) or ():
        name, part = re.match(r"[\w.-]+", text), re.search(r"extra\s*==\s*['\"]([\w.-]+)", text)
        if name and part and name[0] != OWN:
            wanted.setdefault(part[1], []).append(name[0])
    for extra, names in sorted(wanted.items()):
        lacking = [name for name in names if not _installed(name)]
        if lacking:
            text = f"without {', '.join(lacking)}"
            fix = f"only where it's needed: pip install {installed_from(extra)}"
            yield Finding(f"extra {extra}", "missing", text, fix)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def installed_from(extra: str = "") -> str:
    """Return what `pip install` takes to install this distribution again from where it came.

    Args:
        extra: an optional part of it that's wanted too.
    """
    part = f"[{extra}]" if extra else ""
    try:
        text = importlib.metadata.distribution(OWN).read_text("direct_url.json") or "{}"
        origin = json.loads(text)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        origin = {}
    url, kind = origin.get("url", ""), origin.get("vcs_info", {}).get("vcs", "")
    if url.startswith("file:") and not Path(url2pathname(urlsplit(url).path)).exists():
        return f'".{part}" in a checkout of {OWN}'
    if origin.get("dir_info", {}).get("editable"):
        return f'-e "{url2pathname(urlsplit(url).path)}{part}"'
    return f'"{OWN}{part} @ {f"{kind}+" if kind else ""}{url}"' if url else f'"{OWN}{part}"'


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def plugins() -> Iterator[Finding]:
    """Plugins that can't be used; those of other packages are tried in another process."""
    from inv3d.core.registry.discovery import registry
    from inv3d.core.registry.imports import import_plugin
    from inv3d.core.registry.probe import probe_plugins
    from inv3d.core.registry.record import singular

    importlib.import_module("torch")  # which all of ours stand on
    others = probe_plugins(r for r in registry().records if not r.own)
    own = [r if r.status != "ok" else import_plugin(r)[0] for r in registry().records if r.own]
    found = [*own, *others]
    count = sum(record.status == "ok" for record in found)
    yield Finding("plugins", "ok", f"{count} of {len(found)} work")
    for record in found:
        if record.status in ("broken", "duplicate"):
            fix = f"update {record.distribution}, or leave it out: INV3D_DISABLE={record.name}"
            name = f"{singular(record.kind)} {record.name}"
            yield Finding("plugin", "warning", f"{name}: {record.reason}", fix)


def weights() -> Iterator[Finding]:
    """Weight files that are here, plugin by plugin, and the folder that they go into."""
    from inv3d.core.registry.weight_index import list_known_weights
    from inv3d.core.weights.known import weights_dir
    from inv3d.core.weights.tensors import fault

    yield _folder(weights_dir())
    by_user: dict[str, list[Any]] = {}
    for known in list_known_weights():
        for user in known.users:
            by_user.setdefault(user, []).append(known.file)
    for user, files in by_user.items():
        here = [file for file in files if file.state in ("here", "other size")]
        faults = {file: said for file in here if (said := fault(file.locate()))}
        odd = [f"{file.name} ({file.state})" for file in here if file.state == "other size"]
        check = f"weights: {user.split()[-1]}"
        if faults:
            fix = f"delete it, or make it readable; {_way_to([next(iter(faults))])}"
            yield Finding(check, "warning", "; ".join(faults.values()), fix)
        elif odd:
            fix = f"compare it: 3dinv weights verify {odd[0].split()[0]}"
            yield Finding(check, "warning", ", ".join(odd), fix)
        elif here:
            yield Finding(check, "ok", ", ".join(file.name for file in here))
        else:
            which = files[0].name if len(files) == 1 else f"none of {len(files)} known files"
            yield Finding(check, "missing", which, f"only to use it: {_way_to(files)}")


def _way_to(files: Sequence[WeightFile]) -> str:
    """Say how to get the first of some files that can be downloaded, or else the first."""
    file = next((file for file in files if file.url), files[0])
    if not file.url:
        return f"get it from {file.page} and put it at {file.destination}"
    return f"3dinv weights fetch {file.name}"


def _folder(folder: Path) -> Finding:
    """Whether weight files can be written."""
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        free = shutil.disk_usage(nearest).free
        return Finding("weights folder", "ok", f"{folder}, {_size(free)} free")
    fix = "name another folder in the variable INV3D_WEIGHTS"
    return Finding("weights folder", "warning", f"{folder} can't be written", fix)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
