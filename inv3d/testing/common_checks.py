"""What every plugin is held to, whatever its kind: what it says of itself, its options."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from inv3d.core.config import build_config, nested_model
from inv3d.core.errors import ConfigError, InvError
from inv3d.core.registry.discovery import VALID_NAME, registry
from inv3d.core.registry.imports import fault
from inv3d.core.registry.probe import probe_plugins
from inv3d.core.registry.record import PluginRecord
from inv3d.testing.subjects import Subject
from inv3d.testing.suite import DoesntApply, Suite

LONGEST_SUMMARY = 100
# what takes long to import
HEAVY = ("torch", "numpy", "pydantic")
_SCAN = """
import json, sys
from inv3d.core.registry.discovery import VALID_NAME, registry
registry()
print(json.dumps(sorted(sys.modules)))
"""


def installed(suite: Suite[Subject]) -> None:
    """Add what holds for hooks too: how a plugin is found and imported."""

    @suite.check
    def is_what_its_kind_demands(subject: Subject) -> None:
        """No reason for `list-plugins` to call it broken."""
        reason = fault(subject.record, subject.target)
        assert not reason, reason

    @suite.check
    def has_a_name_that_can_be_typed(subject: Subject) -> None:
        """Letters, digits and any of _.- only."""
        name = subject.record.name
        assert VALID_NAME.fullmatch(name), f"its name is {name!r}"

    @suite.check
    def is_found_without_importing_it(subject: Subject) -> None:
        """Neither its module nor torch is imported where plugins are listed."""
        if not subject.record.distribution:
            raise DoesntApply("a class that was handed over, not found by its name")
        found = _modules_of_a_scan()
        module = subject.record.target.partition(":")[0]
        early = [name for name in (module, *HEAVY) if name in found]
        assert not early, f"{early[0]} is imported where plugins are only listed"

    @suite.check
    def imports_quietly_in_a_fresh_interpreter(subject: Subject) -> None:
        """It can be imported first and alone, prints nothing and changes nothing meanwhile."""
        if not subject.record.distribution:
            raise DoesntApply("a class that was handed over, not found by its name")
        key = subject.record.kind, subject.record.name, subject.record.distribution
        tried = _tried(subject.record.own)[key]
        assert tried.status == "ok", tried.reason
        assert not tried.prints, "it prints at import; use logging, or say it when it's used"
        changes = " and ".join(tried.changes)
        assert not changes, f"its import changes {changes}; do that where it's used, and undo it"


@lru_cache(maxsize=1)
def _modules_of_a_scan() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _SCAN], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"listing plugins fails: {done.stderr.splitlines()[-1]}"
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@lru_cache(maxsize=2)
def _tried(own: bool) -> dict[tuple[str, str, str], PluginRecord]:
    """Import all plugins of ours, or all of others, in an interpreter of their own."""
    records = probe_plugins([r for r in registry().records if r.own == own], own=True)
    return {(r.kind, r.name, r.distribution): r for r in records}


def described(suite: Suite[Any]) -> None:
    """Add what holds for every class: what it says of itself, and its options."""

    @suite.check
    def says_what_it_is(subject: Subject) -> None:
        """A summary of one line."""
        text = subject.target.summary
        assert isinstance(text, str) and text.strip(), "it has no summary"
        assert "\n" not in text and len(text) <= LONGEST_SUMMARY, (
            f"its summary has {len(text)} characters, expected a line of {LONGEST_SUMMARY} at most"
        )

    @suite.check
    def says_its_licence(subject: Subject) -> None:
        """Of its code and, where there are any, of its weights."""
        stated = subject.target.licence
        assert stated and stated != "not stated", "it doesn't say its licence"

    @suite.check
    def names_the_packages_that_it_imports(subject: Subject) -> None:
        """`requires` is a tuple of texts."""
        names = subject.target.requires
        assert isinstance(names, tuple) and all(isinstance(name, str) for name in names), (
            f"requires is {names!r}, expected a tuple of names"
        )

    @suite.check
    def describes_every_option(subject: Subject) -> None:
        """Each field of Config has a description."""
        bare = list(undescribed(subject.target.Config))
        assert not bare, f"option '{bare[0]}' has no description"

    @suite.check
    def keeps_its_options_as_json(subject: Subject) -> None:
        """Options that are written into a run's record are read back as they were."""
        config = subject.config
        again = type(config).model_validate(json.loads(config.model_dump_json()))
        now, then = again.model_dump(), config.model_dump()
        others = [name for name in then if now[name] != then[name]]
        assert not others, f"option '{others[0]}' becomes {now[others[0]]!r}"

    @suite.check
    def has_a_schema_of_its_options(subject: Subject) -> None:
        """Config can be described as JSON schema."""
        schema = subject.target.Config.model_json_schema()
        assert schema.get("type") == "object", f"the schema of its options is {schema!r}"

    @suite.check
    def refuses_unknown_options(subject: Subject) -> None:
        """A misspelt option is an error of one line that names it."""
        try:
            build_config(subject.target.Config, {"no_such_option": 1}, subject.owner)
        except ConfigError as error:
            assert "\n" not in str(error), "its error has several lines"
            return
        raise AssertionError("an option that doesn't exist is taken without a word")

    @suite.check
    def never_changes_its_options(subject: Subject) -> None:
        """Options are frozen once they were read."""
        config = subject.config
        names = list(type(config).model_fields)
        if not names:
            raise DoesntApply("it has no options")
        try:
            setattr(config, names[0], getattr(config, names[0]))
        except ValidationError:
            return
        raise AssertionError(f"option '{names[0]}' can be changed after it was read")

    @suite.check
    def has_presets_that_are_valid(subject: Subject) -> None:
        """Every preset is a set of options that Config takes, and Training its "training"."""
        training = getattr(subject.target, "Training", None)
        for name, options in subject.target.presets.items():
            own = {key: v for key, v in options.items() if key != "training" or training is None}
            try:
                build_config(subject.target.Config, own, subject.owner)
                if training is not None:
                    build_config(training, options.get("training", {}), subject.owner)
            except InvError as error:
                raise AssertionError(f"preset '{name}': {error}") from error

    @suite.check
    def names_every_weight_file_once(subject: Subject) -> None:
        """`weights` has no name twice."""
        names = [file.name for file in subject.target.weights]
        twice = sorted({name for name in names if names.count(name) > 1})
        assert not twice, f"weight file {twice[0]} is named twice"


def undescribed(config: Any, prefix: str = "") -> Iterator[str]:
    """Yield the options without a description, with dotted names."""
    for name, field in config.model_fields.items():
        nested = nested_model(field.annotation)
        if nested is not None:
            yield from undescribed(nested, f"{prefix}{name}.")
        elif not field.description:
            yield f"{prefix}{name}"
