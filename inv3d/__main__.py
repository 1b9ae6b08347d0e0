"""`python -m inv3d` is `3dinv`."""

from inv3d.cli import main

main(prog_name="3dinv")
