"""What driver and workers say to one another."""

from __future__ import annotations

from dataclasses import dataclass

from inv3d.batch.facts import Facts
from inv3d.batch.items import Item


@dataclass(frozen=True)
class Greet:
    """The first task of every worker: to say what it would work with."""


@dataclass(frozen=True)
class Greeting:
    """What a worker answers.

    Attributes:
        host, pid: where it is.
        facts: see `Facts`; None where it can't work.
        error: why it can't, in one line.
    """

    host: str
    pid: int
    facts: Facts | None = None
    error: str = ""


@dataclass(frozen=True)
class Task:
    """An item to work on; a `Row` answers.

    Attributes:
        item: which.
        afresh: begin anew, whatever is in its run directory.
        halvings: how often the views rendered at a time are halved, since memory ran out.
        capture: that was made of the item, a picture or clip, ahead of time; empty if none.
    """

    item: Item
    afresh: bool = False
    halvings: int = 0
    capture: str = ""


@dataclass(frozen=True)
class Taken:
    """Said by a worker that has several items: which of them it works on from now on.

    Attributes:
        items: their names.
    """

    items: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """How far an item is, said on the way.

    Attributes:
        what: stage of the method, or what is being made of its result.
        done, steps: of the stage; 0 of 0 where it has no steps.
        item: its name.
    """

    what: str
    done: int = 0
    steps: int = 0
    item: str = ""
