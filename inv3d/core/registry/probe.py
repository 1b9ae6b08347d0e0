"""Which plugins work: found out without importing any of them into this process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import IO

from inv3d.core.registry.imports import import_contracts, import_plugin
from inv3d.core.registry.record import PluginRecord, singular
from inv3d.core.registry.source import file_of, find_class, summary_of, text_of
from inv3d.core.registry.tolerance import tolerant_metadata

_CHILD = "from inv3d.core.registry.probe import try_imports; try_imports()"
# seconds that the second interpreter has for what all plugins stand on
_START = 300.0
# seconds after which a user is told what is waited for
_PATIENCE = 5.0


def _silent(text: str) -> None:
    """Say nothing."""


def probe_plugins(
    records: Iterable[PluginRecord],
    *,
    own: bool = False,
    seconds: float = 60.0,
    say: Callable[[str], None] = _silent,
) -> list[PluginRecord]:
    """Return the records with what is wrong with each, and with the summaries of the good ones.

    Plugins of other packages are imported in a second interpreter, so that one that prints,
    exits, crashes or hangs becomes a record with a reason. This package's own plugins are only
    read, which takes no time and imports nothing, unless `own` is set.

    Args:
        records: as the registry has them.
        own: import this package's plugins too.
        seconds: after which the import of a plugin counts as hanging.
        say: is told what is waited for where an import takes long.
    """
    records = list(records)
    suspects = [r for r in records if r.status == "ok" and (own or not r.own)]
    tried = dict(zip(suspects, _tried(suspects, seconds, say), strict=True))
    return [tried.get(r) or (_described(r) if r.own and r.status == "ok" else r) for r in records]


def _tried(
    records: Sequence[PluginRecord], seconds: float, say: Callable[[str], None]
) -> list[PluginRecord]:
    """Import plugins elsewhere; where the interpreter dies of one, go on with the next."""
    done: list[PluginRecord] = []
    while len(done) < len(records):
        rest = records[len(done) :]
        found, end = _Child(rest).answers(seconds, say)
        done += found
        if len(found) < len(rest):
            culprit = rest[len(found)]
            reason = (
                f"import of {culprit.target}: {end}; INV3D_DISABLE={culprit.name} leaves it out"
            )
            done.append(replace(culprit, status="broken", reason=reason))
    return done


class _Child:
    """A second interpreter that imports plugins, one after the other."""

    def __init__(self, records: Sequence[PluginRecord]) -> None:
        self.records = records
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        # hooks alone may need none of it; for the others it's part of none of their times
        warm = any(record.kind != "hooks" for record in records)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, *(["warm"] if warm else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def answers(self, seconds: float, say: Callable[[str], None]) -> tuple[list[PluginRecord], str]:
        """Return the records that it got through, and how it ended."""
        found: list[PluginRecord] = []
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(json.dumps([asdict(record) for record in self.records]).encode())
            if self._line(_START, "what plugins stand on", say) is not None:
                for record in self.records:
                    line = self._line(seconds, _described_by_owner(record), say)
                    if line is None:
                        break
                    found.append(PluginRecord.read(json.loads(line)))
            return found, _end(self.process.wait())
        except queue.Empty:
            return found, f"it took more than {seconds:g} s"
        finally:
            self.process.kill()
            self.process.wait()
            # what a plugin has started may go on holding the pipe
            reader.join(1.0)
            if not reader.is_alive():
                stdout.close()

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _line(self, seconds: float, what: str, say: Callable[[str], None]) -> bytes | None:
        """Return the next line; None where there's none left.

        Raises:
            queue.Empty: where it takes too long.
        """
        patience = min(_PATIENCE, seconds)
        try:
            return self.lines.get(timeout=patience)
        except queue.Empty:
            say(f"importing {what} takes long")
            return self.lines.get(timeout=seconds - patience)


def _described_by_owner(record: PluginRecord) -> str:
    return f"{singular(record.kind)} '{record.name}' of {record.distribution}"


def _end(status: int) -> str:
    """Say how an interpreter ended."""
    if status < 0:
        return f"it crashed the interpreter (signal {-status})"
    return f"it ended the interpreter (exit status {status})"


def try_imports() -> None:
    """Read records from stdin and write them back, one line each, once their import was tried."""
    records = [PluginRecord.read(row) for row in json.load(sys.stdin)]
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer, tolerant_metadata():
        # whatever a plugin prints, from C as well, must not mix with the answer
        os.dup2(2, 1)
        if "warm" in sys.argv:
            import_contracts()
        print("ready", file=answer, flush=True)
        for record in records:
            print(json.dumps(asdict(import_plugin(record)[0])), file=answer, flush=True)
    # threads that a plugin has started don't matter any more
    os._exit(0)


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
