"""Scanning, judging and loading plugins that are named in the environment or in metadata."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inv3d.core.errors import PluginError
from inv3d.core.registry import discovery
from inv3d.core.registry.discovery import Registry, registry
from inv3d.core.registry.imports import import_plugin
from inv3d.core.registry.probe import probe_plugins
from inv3d.core.registry.record import KINDS, PluginRecord, singular

GOOD = """
from inv3d.core.inverter import Inverter

class Good(Inverter):
    name = "good"
    summary = "does nothing well"
    api = "1.0"

    def steps(self, generator, capture, context):
        yield from ()
"""
RECORD = PluginRecord("good", "methods", "dist-a", "1.0", "thrown_away:Good")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the module `thrown_away`, importable here and in child processes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> None:
        (tmp_path / "thrown_away.py").write_text(text)
        sys.modules.pop("thrown_away", None)

    yield write
    sys.modules.pop("thrown_away", None)


def test_scanning_imports_nothing() -> None:
    code = (
        "import sys; from inv3d.core.registry.discovery import registry; "
        "assert len(registry().of_kind('methods')) >= 4; "
        "print([m for m in ('torch', 'numpy', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_own_plugins_are_found() -> None:
    names = {kind: [r.name for r in registry().of_kind(kind)] for kind in KINDS}
    assert {"eg3d", "minihead"} <= set(names["generators"])
    assert {"wplus", "pti", "multiview", "multilatent"} <= set(names["methods"])
    assert {"mse", "l1", "lpips", "headid", "w_norm"} <= set(names["losses"])
    assert all(r.own for r in registry().records if r.distribution == "3dinv")


@pytest.mark.parametrize("record", [r for r in registry().records if r.own], ids=lambda r: r.target)
def test_own_plugins_are_good_and_described_without_an_import(record: PluginRecord) -> None:
    described = probe_plugins([record])[0]
    imported, _ = import_plugin(record)
    assert imported.reason == ""
    assert described.summary and described.file.endswith(".py")
    for name in ("status", "summary", "file"):
        assert getattr(described, name) == getattr(imported, name), name
    assert described.licence in (imported.licence, "")
    assert described.reference in (imported.reference, "")
    assert imported.seconds is not None and not imported.prints


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(PluginError) as error:
        registry().load("methods", "multilatnt")
    assert str(error.value) == (
        "unknown method 'multilatnt'; did you mean 'multilatent'?; see '3dinv list-plugins'"
    )


def test_two_plugins_of_one_name_are_both_refused() -> None:
    twin = replace(RECORD, distribution="dist-b", target="other:Good")
    found = Registry([RECORD, twin, replace(RECORD, kind="losses")])
    assert [r.status for r in found.records] == ["duplicate", "duplicate", "ok"]
    with pytest.raises(PluginError) as error:
        found.load("methods", "good")
    assert str(error.value) == (
        "method 'good' can't be used: offered by dist-a (thrown_away:Good) and dist-b "
        "(other:Good); uninstall one, or choose that of dist-a with "
        "INV3D_PREFER=methods:good=dist-a"
    )


OURS = replace(RECORD, distribution="3dinv", target="inv3d.plugins.x:Good")


def test_ours_is_used_beside_a_foreign_one_of_its_name() -> None:
    found = Registry([RECORD, OURS])
    assert found.record("methods", "good") == OURS
    assert [(r.distribution, r.status, r.reason) for r in found.records] == [
        (
            "dist-a",
            "duplicate",
            "offered by 3dinv (inv3d.plugins.x:Good) and dist-a (thrown_away:Good); that of 3dinv "
            "is used; INV3D_PREFER=methods:good=dist-a takes the other",
        ),
        ("3dinv", "ok", ""),
    ]


def test_the_preferred_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_PREFER", "losses:other=x, methods:good=Dist_A")
    twin = replace(RECORD, distribution="dist-b", target="other:Good")
    found = Registry([OURS, RECORD, twin])
    assert [r.status for r in found.records] == ["duplicate", "ok", "duplicate"]
    assert found.record("methods", "good") == RECORD
    assert "that of dist-a is used; INV3D_PREFER=methods:good=3dinv" in found.records[0].reason


def test_two_foreign_ones_leave_ours_alone() -> None:
    twin = replace(RECORD, distribution="dist-b", target="other:Good")
    assert Registry([twin, RECORD, OURS]).record("methods", "good") == OURS


@pytest.mark.parametrize("text", ["good=dist-a", "method:good=dist-a", "methods:good"])
def test_a_preference_of_another_form_is_an_error(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("INV3D_PREFER", text)
    with pytest.raises(PluginError, match=r"INV3D_PREFER: .*expected KIND:NAME=DISTRIBUTION"):
        Registry([RECORD])


def test_wishes_without_effect_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_PREFER", "losses:mse=gone")
    mine = replace(RECORD, distribution="INV3D_PLUGINS", version="")
    first, second = Registry([OURS, mine]).unfulfilled()
    assert first.startswith("INV3D_PLUGINS: method 'good': offered by 3dinv ")
    assert "INV3D_PREFER=methods:good=INV3D_PLUGINS takes the other" in first
    assert second == "INV3D_PREFER: no distribution gone offers a loss 'mse'"


def test_disabling_one_of_two_leaves_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_DISABLE", " Dist_B ,unknown")
    twin = replace(RECORD, distribution="dist-b")
    found = Registry([RECORD, twin])
    assert [r.status for r in found.records] == ["ok", "disabled"]
    assert found.record("methods", "good").distribution == "dist-a"


def test_a_disabled_plugin_cant_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INV3D_DISABLE", "good")
    with pytest.raises(PluginError, match="method 'good' can't be used: left out by INV3D_DISABLE"):
        Registry([RECORD]).load("methods", "good")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods:mine=a.b:C", None),
        ("  methods:mine=a.b:C , ", None),
        ("methods:mine", "expected KIND:NAME=MODULE:CLASS"),
        ("method:mine=a:B", "expected KIND:NAME=MODULE:CLASS"),
        ("mine=a:B", "expected KIND:NAME=MODULE:CLASS"),
        ("methods:=a:B", "expected KIND:NAME=MODULE:CLASS"),
    ],
)
def test_plugins_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str | None
) -> None:
    monkeypatch.setenv("INV3D_PLUGINS", text)
    if said is None:
        record = PluginRecord("mine", "methods", "INV3D_PLUGINS", "", "a.b:C")
        assert list(discovery._from_environment()) == [record]
    else:
        with pytest.raises(PluginError, match=said):
            list(discovery._from_environment())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[inv3d.methods]\ngood = thrown_away:Good", ""),
        ("[inv3d.methods]\ngood = thrown_away:Good [extra]", ""),
        ("[inv3d.methods]\ngood = thrown_away:", "isn't of the form module:Class"),
        ("[inv3d.methods]\ngood = a b", "isn't of the form module:Class"),
        ("[inv3d.methods]\ngo od! = thrown_away:Good", "has other characters than letters"),
        ("[inv3d.methods\ngood = x", "its entry_points.txt can't be parsed"),
        ("good = x [inv3d.methods]", "its entry_points.txt can't be parsed"),
        ("[inv3d.methods]\ngood = thrown_away:Good\n\ngood=thrown_away:Good", ""),
        ("[inv3d.methods]\ngood = a:B\ngood = a:C", "its entry_points.txt can't be parsed"),
        ("[inv3d.methods]\ngood = %(x)s", "isn't of the form module:Class"),
    ],
)
def test_entry_points_that_cant_be_read_are_records(text: str, said: str) -> None:
    (record,) = discovery._parsed(text, "dist-a", "1.0")
    assert record.distribution == "dist-a"
    assert record.status == ("broken" if said else "ok")
    assert said in record.reason
    assert record == RECORD or said


@pytest.mark.parametrize(
    ("group", "kind", "said"),
    [
        ("inv3d.loss", "losses", "write 'inv3d.losses'"),
        ("inv3d_losses", "losses", "write 'inv3d.losses'"),
        ("inv3d.Losses", "losses", "write 'inv3d.losses'"),
        ("3dinv.losses", "losses", "write 'inv3d.losses'"),
        (" inv3d.losses ", "losses", "write 'inv3d.losses'"),
        ("inv3d:method", "methods", "write 'inv3d.methods'"),
        ('project.entry-points."inv3d.losses"', "losses", "write 'inv3d.losses'"),
        ('"inv3d.losses"', "losses", "write 'inv3d.losses'"),
        ("threedinv.losses", "losses", "write 'inv3d.losses'"),
        ("inv3d", "?", "write one of inv3d.generators, inv3d.methods"),
    ],
)
def test_groups_that_are_almost_ours_are_records(group: str, kind: str, said: str) -> None:
    text = f"[console_scripts]\nx = y:z\n[{group}]\ngood = thrown_away:Good"
    (record,) = discovery._parsed(text, "dist-a", "1.0")
    assert (record.name, record.kind, record.status) == ("good", kind, "broken")
    assert f"its group '{group}' is none of 3dinv's; {said}" in record.reason


def test_a_distribution_that_is_found_twice_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, version in (("first", "1.0"), ("second", "2.0")):
        info = tmp_path / place / f"dist_a-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-a\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[inv3d.methods]\ngood = thrown_away:Good\n")
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / place)])
    assert [r for r in discovery._installed() if r.name == "good"] == [RECORD]


def test_a_good_plugin_is_loaded(source: Callable[[str], None]) -> None:
    source(GOOD)
    assert Registry([RECORD]).load("methods", "good").summary == "does nothing well"
    found = import_plugin(RECORD)[0]
    assert (found.status, found.summary) == ("ok", "does nothing well")
    assert found.file.endswith("thrown_away.py") and found.seconds is not None


BROKEN = {
    "a package that is missing": (
        "import no_such_package",
        "Good: ModuleNotFoundError: No module named 'no_such_package'; install it",
    ),
    "a module of its own that is missing": (
        "import thrown_away.helpers",
        "No module named 'thrown_away.helpers'; 'thrown_away' is not a package; its package lacks",
    ),
    "an interrupt that nobody asked for": (
        "raise KeyboardInterrupt",
        "import of thrown_away:Good: KeyboardInterrupt",
    ),
    "an exception of the lowest kind": (
        "class Low(BaseException): pass\nraise Low('down')",
        "import of thrown_away:Good: Low: down",
    ),
    "an error that can't say what it is": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "import of thrown_away:Good: Mute",
    ),
    "a syntax error": ("def", "import of thrown_away:Good: SyntaxError: invalid syntax"),
    "a class that isn't there": (
        "",
        "AttributeError: module 'thrown_away' has no attribute 'Good'",
    ),
    "an exit at import": ("import sys; sys.exit(3)", "import of thrown_away:Good: SystemExit: 3"),
    "an error without text": ("raise ValueError", "import of thrown_away:Good: ValueError"),
    "an error of many lines": ("raise ValueError('a\\nb')", "thrown_away:Good: ValueError: a"),
    "no class": ("Good = 3", "thrown_away:Good is no subclass of inv3d.Inverter"),
    "another kind": (
        "from inv3d.core.loss import Loss\nclass Good(Loss): pass",
        "Good is no subclass of inv3d.Inverter; it's a Loss, whose group is inv3d.losses",
    ),
    "an abstract class": (
        GOOD.replace("def steps", "def other"),
        "thrown_away:Good is abstract: it lacks steps",
    ),
    "another name": (
        GOOD.replace('"good"', '"better"'),
        "thrown_away:Good calls itself 'better', its entry point 'good'",
    ),
    "a Config of another type": (
        GOOD + "    Config = dict",
        "thrown_away:Good.Config is no subclass of inv3d.PluginConfig",
    ),
    "an option whose default is of another type": (
        GOOD + "    from inv3d.core.config import PluginConfig\n"
        "    class Config(PluginConfig):\n        size: int = 'large'",
        "the default of option 'size' of thrown_away:Good.Config: 'large' is not valid",
    ),
    "an option of a type that isn't there": (
        GOOD + "    from inv3d.core.config import PluginConfig\n"
        "    class Config(PluginConfig):\n        size: 'NoSuchType' = 1",
        "thrown_away:Good.Config can't be built: ",
    ),
    "options of a training that are no table": (
        GOOD + "    Training = dict",
        "thrown_away:Good.Training is no subclass of inv3d.PluginConfig",
    ),
    "an option that is hidden by a shared one": (
        GOOD + "    from inv3d.core.config import PluginConfig\n"
        "    class Config(PluginConfig):\n        generator: int = 1",
        "its option 'generator' is hidden by --set generator.NAME, which every method shares",
    ),
    "a shared option of another type": (
        GOOD + "    from inv3d.core.fit.options import FitConfig\n"
        "    class Config(FitConfig):\n        losses: float = 1.0",
        "its option 'losses' is one of inv3d.FitConfig with another type; keep the type",
    ),
    "a summary that is no text": (GOOD + "    summary = 3", "Good.summary is 3, expected a text"),
    "presets that are no tables": (
        GOOD + "    presets = {'fast': 3}",
        "Good.presets is no mapping of names to tables of options",
    ),
    "a need that is a text": (
        GOOD + "    needs = 'cameras'",
        "has 'cameras' where a collection of names is expected",
    ),
    "an attribute that raises": (
        GOOD + "    class Bad:\n        def __get__(self, *_): raise ValueError('no')\n"
        "    presets = Bad()",
        "import of thrown_away:Good: ValueError: no",
    ),
    "weights that are no files": (
        GOOD + "    weights = ('net.pkl',)",
        "Good.weights is no tuple of inv3d.WeightFile",
    ),
    "an old API": (
        GOOD + "    api = '0.9'",
        "written for plugin API 0.9, this 3dinv has 1.0; upgrade dist-a",
    ),
    "a new API": (
        GOOD + "    api = '1.7'",
        "written for plugin API 1.7, this 3dinv has 1.0; upgrade 3dinv",
    ),
    "an API of the future": (
        GOOD + "    api = '2.0'",
        "written for plugin API 2.0, this 3dinv has 1.0; upgrade 3dinv",
    ),
    "a range of APIs": (
        GOOD + "    api = '>=1.2,<3'",
        "written for plugin API >=1.2,<3, this 3dinv has 1.0; upgrade 3dinv",
    ),
    "no API": (
        GOOD.replace('api = "1.0"', ""),
        'doesn\'t say which plugin API it was written for; add the line api = "1.0" to the class',
    ),
    "an API that is no version": (GOOD + "    api = 1", "api is 1, expected 'major.minor' such as"),
}


def test_a_loss_with_a_dot_in_its_name_cant_be_named(source: Callable[[str], None]) -> None:
    source(
        "from inv3d.core.loss import Loss\n\nclass Good(Loss):\n    name, api = 'go.od', '1.0'\n"
        "    def prepare(self, target): pass\n    def forward(self, rendering, cache): pass\n"
    )
    record, _ = import_plugin(replace(RECORD, kind="losses", name="go.od"))
    assert record.status == "broken" and "its name has a dot, which --set" in record.reason


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugins_have_a_reason(source: Callable[[str], None], case: str) -> None:
    text, reason = BROKEN[case]
    source(text)
    record, _ = import_plugin(RECORD)
    assert record.status == "broken"
    assert reason in record.reason
    assert "\n" not in record.reason
    with pytest.raises(PluginError, match="method 'good' can't be used: "):
        Registry([RECORD]).load("methods", "good")


def test_what_a_plugin_prints_goes_to_stderr(
    source: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    source("print('hello from the plugin')\n" + GOOD)
    found = import_plugin(RECORD)[0]
    assert found.status == "ok" and found.prints
    assert capsys.readouterr() == ("", "hello from the plugin\n")


def test_a_users_interrupt_while_importing_isnt_swallowed(source: Callable[[str], None]) -> None:
    source("import signal; signal.raise_signal(signal.SIGINT)")
    with pytest.raises(KeyboardInterrupt):
        import_plugin(RECORD)


def test_what_an_import_changes_is_told_and_put_back(source: Callable[[str], None]) -> None:
    source("import os; os.chdir('/')\n" + GOOD)
    before = Path.cwd()
    found = import_plugin(RECORD)[0]
    assert found.status == "ok" and found.changes == ("the working directory",)
    assert Path.cwd() == before


DEADLY = """
import os, sys, time
print("noise")
os.write(1, b"noise from C\\n")
class Quiet:
    pass
if "{how}" == "exit":
    os._exit(7)
if "{how}" == "crash":
    os.abort()
if "{how}" == "hang":
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("exit", "import of deadly_exit:X: it ended the interpreter (exit status 7)"),
        ("crash", "import of deadly_crash:X: it crashed the interpreter (signal 6)"),
        ("hang", "import of deadly_hang:X: it took more than 5 s"),
        ("noise", "import of deadly_noise:X: AttributeError"),
    ],
)
def test_a_plugin_that_kills_its_interpreter_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"deadly_{how}.py").write_text(DEADLY.replace("{how}", how))
    records = [
        PluginRecord("first", "hooks", "d", "1", "inv3d.core.errors"),
        PluginRecord("deadly", "hooks", "d", "1", f"deadly_{how}:X"),
        PluginRecord("last", "hooks", "d", "1", "inv3d.core.files"),
        PluginRecord("off", "hooks", "d", "1", "x", "disabled", "left out"),
    ]
    # a child begins well within the time that one has which never ends
    told: list[str] = []
    found = probe_plugins(records, seconds=5 if how == "hang" else 60, say=told.append)
    assert told == (["importing hook 'deadly' of d takes long"] if how == "hang" else [])
    if how in ("exit", "crash", "hang"):
        assert found[1].reason.endswith("; INV3D_DISABLE=deadly leaves it out")
    assert [r.status for r in found] == ["ok", "broken", "ok", "disabled"]
    assert found[1].reason.startswith(reason)
    assert found[0].summary.startswith("Errors that a user can put right")
    assert f"deadly_{how}" not in sys.modules


def test_a_thread_that_goes_on_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "busy.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n"
    )
    (found,) = probe_plugins([PluginRecord("busy", "hooks", "d", "1", "busy")])
    assert found.status == "ok"
    assert found.changes == ("what runs, by a thread that keeps 3dinv from ending",)


def test_own_plugins_whose_class_is_gone_are_broken() -> None:
    record = PluginRecord("x", "losses", "3dinv", "1", "inv3d.plugins.losses.pixel:Gone")
    (found,) = probe_plugins([record])
    assert found.reason == "inv3d.plugins.losses.pixel has no class Gone; reinstall 3dinv"
    (found,) = probe_plugins([replace(record, target="inv3d.plugins.losses.gone:Gone")])
    assert found.reason == "inv3d.plugins.losses.gone has no class Gone; reinstall 3dinv"


def test_singular() -> None:
    assert [singular(kind) for kind in KINDS] == [
        "generator",
        "method",
        "loss",
        "editor",
        "estimator",
    ]
