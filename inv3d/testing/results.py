"""What a conformance suite found: one result a check, as text, as JSON, as an assertion."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from inv3d.core.registry.record import singular

# expected: failed, as was said beforehand; unexpected: passed, though a failure was expected;
# left out: doesn't apply to this plugin
Status = Literal["passed", "failed", "expected", "unexpected", "left out"]
FORMAT = 1


@dataclass(frozen=True)
class Result:
    """What came of one check.

    Attributes:
        name: of the check.
        status: see `Status`.
        said: what was found where it failed, why it was left out.
        seconds: that it took.
    """

    name: str
    status: Status
    said: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What came of all checks of one plugin.

    Attributes:
        kind: of the plugin, in the plural.
        plugin: its name.
        target: where it's from, "module:Class".
        results: one a check, in their order.
    """

    kind: str
    plugin: str
    target: str
    results: tuple[Result, ...]

    @property
    def bad(self) -> tuple[Result, ...]:
        """Checks that failed, and those that passed though they were expected to fail."""
        return tuple(r for r in self.results if r.status in ("failed", "unexpected"))

    @property
    def ok(self) -> bool:
        """Whether the plugin does what its kind promises."""
        return not self.bad

    def counts(self) -> dict[str, int]:
        """Return how many checks there are, and how many of each status."""
        found = Counter(result.status for result in self.results)
        return {"checks": len(self.results), **dict(sorted(found.items()))}

    def headline(self) -> str:
        """Return the numbers in a line."""
        checks, *parts = self.counts().items()
        said = ", ".join(f"{number} {status}" for status, number in parts)
        return f"{singular(self.kind)} {self.plugin}: {checks[1]} checks: {said}"

    def __str__(self) -> str:
        same: dict[tuple[str, str], list[str]] = {}
        for result in self.results:
            if result.said:
                same.setdefault((result.status, result.said), []).append(result.name)
        lines = [
            f"  {status}: {'; '.join(names)}: {said}" for (status, said), names in same.items()
        ]
        return "\n".join([self.headline(), *lines])

    def require(self) -> None:
        """See that the plugin conforms.

        Raises:
            AssertionError: with every check that failed.
        """
        lines = [f"  {r.status}: {r.name}: {r.said}" for r in self.bad]
        if lines:
            raise AssertionError("\n".join([self.headline(), *lines]))

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "plugin": self.plugin,
            "target": self.target,
            "ok": self.ok,
            "counts": self.counts(),
            "results": [asdict(result) for result in self.results],
        }

    def write(self, path: Path | str) -> None:
        """Write everything as JSON, whole or not at all."""
        from inv3d.core.files import write_json

        write_json(Path(path), self.as_json())
