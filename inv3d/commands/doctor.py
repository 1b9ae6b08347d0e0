"""`3dinv doctor`: what works on this machine, and how to put right what doesn't."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from inv3d.commands.output import print_json, print_table
from inv3d.core.errors import RunError

if TYPE_CHECKING:
    from rich.text import Text

    from inv3d.doctor import Finding

_STYLES = {"ok": "green", "warning": "yellow", "missing": "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show what works on this machine: PyTorch, devices, video, plugins, weights.

    Each line is ok, warning or missing, with what to do about it. The exit code is 1 only where
    the embedded generator can't run.
    """
    from inv3d.doctor import examine

    findings = list(examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        columns = ("state", "check", "found")
        print_table(columns, map(_row, findings), whole=columns[:2])
    if any(finding.fatal for finding in findings):
        raise RunError("the embedded generator can't run here; see its line for what to do")


def _row(finding: Finding) -> tuple[str | Text, ...]:
    from rich.text import Text

    state = Text(finding.state, style=_STYLES[finding.state])
    found = f"{finding.found}\n-> {finding.fix}" if finding.fix else finding.found
    return state, finding.check, found
