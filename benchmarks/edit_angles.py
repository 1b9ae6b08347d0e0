"""Whether an edit does the same from every side: its effect on many latents against that on one.

How many pixels an edit changes depends on what a camera sees of it. So the same edit is made to one
latent for all sides, the mean of the run's, in the same tuned generator: where the effect on the
run's own latents has the same course over the angles, their edit shows no seams.

    python -m benchmarks.edit_angles RUN... --edit smile=2 --edit age=1.5 --plot angles.png
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from torch import Tensor

import inv3d
from inv3d.commands.editor import named_strength
from inv3d.core.inversion import Inversion
from inv3d.report.views import render_views
from inv3d.runs.edit import Edit, Editing

EDITS = ("smile=2", "beard=2", "age=1.5", "dark_skin=1.5")


@dataclass(frozen=True)
class Course:
    """The effect of an edit over the angles.

    Attributes:
        run, edit: which.
        many, one: [N] norm of the change of the picture, of the run's latents and of their mean.
    """

    run: str
    edit: str
    many: Tensor
    one: Tensor

    @property
    def ratio(self) -> Tensor:
        """[N], of both effects, 1 in the mean."""
        ratio = self.many / self.one
        return ratio / ratio.mean()

    def row(self) -> str:
        """Return the numbers as a row of Markdown."""
        least, largest = float(self.many.min()), float(self.many.max())
        off = float((self.ratio - 1).abs().max())
        return f"| {self.run} | `{self.edit}` | {least:.1f} to {largest:.1f} | {off:.1%} |"


def courses(directory: Path, edits: tuple[str, ...], yaws: Tensor) -> list[Course]:
    """Measure edits of a run that has several latents.

    Args:
        directory: of the run.
        edits: NAME=STRENGTH each.
        yaws: [N] degrees.
    """
    run = inv3d.open_run(directory)
    editing, found = Editing(run, "interfacegan"), run.inversion
    middle = found.cameras[[len(found.ws) // 2]]
    single = replace(found, ws=found.ws.mean(0, keepdim=True), cameras=middle, frames=())
    camera = run.generator.spec.camera.orbit(torch.deg2rad(yaws))

    def pictures(of: Inversion) -> Tensor:
        seen = render_views(run.generator, of, camera)
        return torch.cat([part.require("image") for _, part in seen])

    def effect(of: Inversion, step: Tensor, before: Tensor) -> Tensor:
        change = pictures(replace(of, ws=of.ws + step)) - before
        return torch.linalg.vector_norm(change.flatten(1), dim=1)

    before = [pictures(of) for of in (found, single)]
    measured = []
    for edit in edits:
        name, strength = named_strength(edit)
        options = {"attribute": name, "strength": strength}
        step = (editing.apply([Edit(options)]).inversion.ws - found.ws)[:1]
        many, one = (effect(of, step, b) for of, b in zip((found, single), before, strict=True))
        measured.append(Course(directory.name, edit, many, one))
    return measured


def plot(found: list[Course], yaws: Tensor, path: Path) -> None:
    """Draw the effects, and their ratios with a band of 10 %."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, edit in enumerate(dict.fromkeys(course.edit for course in found)):
        for index, course in enumerate(course for course in found if course.edit == edit):
            label, colour = (edit if index == 0 else None), f"C{number}"
            left.plot(yaws, course.many, color=colour, linewidth=1, label=label)
            right.plot(yaws, course.ratio, color=colour, linewidth=1)
    right.axhspan(0.9, 1.1, color="0.9", zorder=0)
    left.set(xlabel="yaw in degrees", ylabel="change of the picture (norm)", ylim=(0, None))
    right.set(xlabel="yaw in degrees", ylabel="against one latent", ylim=(0.7, 1.3))
    figure.legend(loc="outside upper center", ncols=len(left.lines), fontsize="small")
    figure.savefig(path, dpi=110)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--edit", "edits", multiple=True, default=EDITS, show_default=True)
@click.option("--plot", "picture", type=click.Path(path_type=Path))
@torch.no_grad()
def main(runs: tuple[Path, ...], edits: tuple[str, ...], picture: Path | None) -> None:
    """Print the effect of edits of RUNS from 60 to -60 degrees."""
    torch.set_num_threads(1)
    yaws = torch.arange(60, -61, -10).float()
    click.echo("| run | edit | effect | off one latent, at most |\n| --- | --- | --- | --- |")
    found: list[Course] = []
    for directory in runs:
        found += courses(directory, edits, yaws)
        click.echo("\n".join(course.row() for course in found[-len(edits) :]))
    if picture is not None:
        plot(found, yaws, picture)


if __name__ == "__main__":
    main()
