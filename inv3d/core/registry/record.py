"""What is known of a plugin before it's imported: its kind, its name, its owner, its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "broken", "duplicate", "disabled"]

# kind -> where its contract stands; a name, so that listing plugins imports no torch
KINDS = {
    "generators": "inv3d.core.generator:Generator",
    "methods": "inv3d.core.inverter:Inverter",
    "losses": "inv3d.core.loss:Loss",
    "editors": "inv3d.core.editor:Editor",
    "estimators": "inv3d.core.estimator:Estimator",
}
# those whose plugins may be trained, in the order in which a name is looked for
TRAINED_KINDS = ("methods", "estimators")
# what stands around a loss's options
LOSS_TERM = "inv3d.core.fit.terms:LossTerm"
GROUPS = {kind: f"inv3d.{kind}" for kind in (*KINDS, "hooks")}
# of a plugin whose kind can't be told
UNKNOWN = "?"
OWN_DISTRIBUTION = "3dinv"


@dataclass(frozen=True)
class PluginRecord:
    """One entry point that was found.

    Attributes:
        name: of the plugin.
        kind: one of KINDS, hooks, or UNKNOWN.
        distribution: that it comes from, or the environment variable.
        version: of that distribution.
        target: "module:Class".
        status: ok until something is known to be wrong.
        reason: what is wrong and what to do, empty if nothing.
        summary: what the plugin says of itself; it, and what follows, is known once the plugin was
            imported, in part also where its source was read.
        licence, reference: as the plugin states them.
        file: that its class or module stands in.
        capabilities: in words, such as "takes --init" or "needs depths".
        seconds: that its import took, with all that it imports and nothing else has before it.
        prints: whether it prints when it's imported.
        changes: what its import changes and shouldn't, in words; it's put back.
    """

    name: str
    kind: str
    distribution: str
    version: str
    target: str
    status: Status = "ok"
    reason: str = ""
    summary: str = ""
    licence: str = ""
    reference: str = ""
    file: str = ""
    capabilities: tuple[str, ...] = ()
    seconds: float | None = None
    prints: bool = False
    changes: tuple[str, ...] = ()

    @staticmethod
    def read(row: Mapping[str, Any]) -> PluginRecord:
        """Return a record that was written as JSON."""
        texts = {name: tuple(row[name]) for name in ("capabilities", "changes")}
        return PluginRecord(**{**row, **texts})

    @property
    def own(self) -> bool:
        """Whether the plugin belongs to this package."""
        return self.distribution == OWN_DISTRIBUTION


def singular(kind: str) -> str:
    """Return the word for one plugin of a kind."""
    return {"losses": "loss"}.get(kind, kind.removesuffix("s"))
