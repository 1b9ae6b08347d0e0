"""Several runs of a method without steps, whose results are made in one pass."""

from __future__ import annotations

import time
from collections.abc import Sequence

from inv3d.core.errors import ContractError
from inv3d.core.inverter import Single
from inv3d.runs.prepare import Found, PreparedRun


def invert_together(runs: Sequence[PreparedRun]) -> None:
    """Let a method make the results of several runs at once; each run has its own then.

    Args:
        runs: one or more, of the same method, generator and options; nothing is written.

    Raises:
        InvError: where one of them can't be inverted; then none has a result.
        ContractError: where the method returns another number of results.
    """
    started = time.perf_counter()
    singles = [Single(run.method, run.generator, run.chosen, run.context(None)) for run in runs]
    method = runs[0].method
    results = list(method.together(singles))
    if len(results) != len(runs):
        raise ContractError(
            f"method {method.name}: its together() returned {len(results)} results for "
            f"{len(runs)} captures; report it to the method's author"
        )
    share = (time.perf_counter() - started) / len(runs)
    for run, single, result in zip(runs, singles, results, strict=True):
        run.found = Found(result, single.context, share, len(runs))
