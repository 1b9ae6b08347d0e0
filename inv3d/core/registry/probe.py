"""Which plugins work: found out without importing any of them into this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from inv3d.core.registry.imports import import_contracts, import_plugin
from inv3d.core.registry.record import PluginRecord
from inv3d.core.registry.source import file_of, find_class, summary_of, text_of
from inv3d.core.registry.tolerance import tolerant_metadata

_CHILD = "from inv3d.core.registry.probe import try_imports; try_imports()"


def probe_plugins(
    records: Iterable[PluginRecord],
    *,
    own: bool = False,
    seconds: float = 60.0,
    warm: bool = False,
) -> list[PluginRecord]:
    """Return the records with what is wrong with each, and with the summaries of the good ones.

    Plugins of other packages are imported in a second interpreter, so that one that prints,
    exits, crashes or hangs becomes a record with a reason. This package's own plugins are only
    read, which takes no time and imports nothing, unless `own` is set.

    Args:
        records: as the registry has them.
        own: import this package's plugins too.
        seconds: after which an import counts as hanging.
        warm: import what all plugins share beforehand, so that times are theirs alone.
    """
    records = list(records)
    suspects = [r for r in records if r.status == "ok" and (own or not r.own)]
    tried = dict(zip(suspects, _tried(suspects, seconds, warm), strict=True))
    return [tried.get(r) or (_described(r) if r.own and r.status == "ok" else r) for r in records]


def _tried(records: Sequence[PluginRecord], seconds: float, warm: bool) -> list[PluginRecord]:
    """Import plugins elsewhere; where the interpreter dies of one, go on with the next."""
    done: list[PluginRecord] = []
    while len(done) < len(records):
        rest = records[len(done) :]
        found, end = _child(rest, seconds, warm)
        done += found
        if len(found) < len(rest):
            culprit = rest[len(found)]
            reason = f"import of {culprit.target}: {end}"
            done.append(replace(culprit, status="broken", reason=reason))
    return done


def _child(
    records: Sequence[PluginRecord], seconds: float, warm: bool
) -> tuple[list[PluginRecord], str]:
    """Return the records that a second interpreter got through, and how it ended."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD, *(["warm"] if warm else [])],
            input=json.dumps([asdict(record) for record in records]).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=seconds,
            check=False,
        )
        output, end = child.stdout, f"it ended the interpreter (exit status {child.returncode})"
    except subprocess.TimeoutExpired as late:
        output, end = late.stdout or b"", f"it took more than {seconds:g} s"
    return [PluginRecord.read(json.loads(line)) for line in output.splitlines()], end


def try_imports() -> None:
    """Read records from stdin and write them back, one line each, once their import was tried."""
    records = [PluginRecord.read(row) for row in json.load(sys.stdin)]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer, tolerant_metadata():
        # whatever a plugin prints, from C as well, must not mix with the answer
        os.dup2(2, 1)
        if "warm" in sys.argv:
            import_contracts()
        for record in records:
            print(json.dumps(asdict(import_plugin(record)[0])), file=answer, flush=True)


def _described(record: PluginRecord) -> PluginRecord:
    """Add what stands in the source of one of our own plugins."""
    module, _, name = record.target.partition(":")
    file = file_of(module)
    if not name:
        return replace(record, summary=summary_of(module), file=file)
    found = find_class(module, name)
    if found is None:
        reason = f"{module} has no class {name}; reinstall {record.distribution}"
        return replace(record, status="broken", reason=reason)
    return replace(
        record,
        file=file,
        summary=text_of(found, "summary"),
        licence=text_of(found, "licence"),
        reference=text_of(found, "reference"),
    )
