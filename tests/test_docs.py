"""The documentation says what the code does."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import shlex
import sys
import textwrap
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from inv3d.cli import main
from inv3d.core.config import (
    Options,
    PluginConfig,
    build_config,
    merge,
    parse_overrides,
    preset_options,
)
from inv3d.core.editor import Subject
from inv3d.core.errors import ConfigError, PluginError, WeightsError
from inv3d.core.fit.context import Context
from inv3d.core.fit.loop import Progress
from inv3d.core.fit.terms import LossTerm
from inv3d.core.inversion import Inversion
from inv3d.core.inverter import load_method
from inv3d.core.loss import Loss, Target
from inv3d.core.registry.discovery import registry
from inv3d.core.registry.hookspecs import HookSpecs, misspelt_hook
from inv3d.core.registry.imports import import_plugin
from inv3d.core.registry.record import PluginRecord
from inv3d.core.scene import Rendering
from inv3d.core.weights.tensors import write_tensors
from inv3d.nn.eg3d.architecture import Architecture
from inv3d.plugins.generators.minihead import LOSSES, MiniHeadConfig
from inv3d.report.metrics import CONSISTENCY_LATENTS, CONSISTENCY_RAYS, CONSISTENCY_VIEWS
from inv3d.testing.conformance import CHECKS, check_plugin
from inv3d.testing.toy import ToyConfig, ToyGenerator, toy_capture, toy_latents
from inv3d.train.prepare import find_trainable
from tests.tiny_generators import TINY

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
# plugins that only exist in the documentation's own examples
INVENTED = {"edges", "ball", "balloon", "my-method", "my-generator"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield every `3dinv ...` of a page as words, from shell blocks and from the text."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(3dinv [^`\n]+)`", text_of(page))
    for line in lines:
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z0-9_]+=.*", words[0]):
                words.pop(0)
            if words[:1] == ["3dinv"]:
                yield words[1:]


LINES = sorted(
    {
        (page.name, shlex.join(words))
        for page in PAGES
        for words in command_lines(page)
        if page.name != "cli.md"
    }
)


# --- the command line


def load_make_cli() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", DOCS / "make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_what_the_program_says() -> None:
    assert text_of(DOCS / "cli.md") == load_make_cli().page(), "run python docs/make_cli.py"


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(*found, id=found[0]) for found in load_make_cli().commands()]
)
def test_the_command_line_page_has_what_help_shows(name: str, command: click.Command) -> None:
    words = [*name.split(), "--help"]
    result = CliRunner().invoke(main, words, terminal_width=1000, max_content_width=1000)
    shown = " ".join(result.output.split())
    section = re.split(r"^## ", text_of(DOCS / "cli.md"), flags=re.MULTILINE)
    (page,) = [part for part in section if part.startswith(f"3dinv {name}\n")]
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert len(options) == page.count("\n- `")
    for option in options:
        for spelling in (*option.opts, *option.secondary_opts):
            assert spelling in page
            assert spelling in shown
        assert option.help and option.help in page
        assert " ".join(option.help.split()) in shown


def test_there_are_command_lines_to_check() -> None:
    assert len(LINES) > 40
    assert {page for page, _ in LINES} >= {"README.md", "quickstart.md", "plugins.md", "results.md"}


@pytest.fixture
def toy_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("INV3D_PLUGINS", "generators:toy=inv3d.testing.toy:ToyGenerator")
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.parametrize(("page", "line"), LINES)
def test_command_lines_parse(page: str, line: str, toy_known: None) -> None:
    check(line)


def test_the_config_file_of_the_quickstart_is_valid() -> None:
    (text,) = blocks(DOCS / "quickstart.md", "toml")
    check_run(
        {"method": "multilatent", "generator": "minihead", "preset": None}, tomllib.loads(text)
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("rnu --views 9", click.UsageError),
        ("run --vievs 9", click.UsageError),
        ("weights fech x.pkl", click.UsageError),
        ("weights fetch x.pkl --yes", click.UsageError),
        ("run --set latent.stepz=1", ConfigError),
        ("run --set losses.mse.masc=true", ConfigError),
        ("run --set losses.msee=1", PluginError),
        ("info minihad", AssertionError),
        ("train e4e --set training.stepz=1", ConfigError),
        ("train wplus", PluginError),
    ],
)
def test_a_wrong_command_line_would_be_found(
    line: str, error: type[Exception], toy_known: None
) -> None:
    with pytest.raises(error):
        check(line)


def check(line: str) -> None:
    """Parse a command line without running it; COMMAND stands for any command."""
    words = [word for word in shlex.split(line) if word not in ("--debug", "COMMAND")]
    if not words:
        return
    parent = click.Context(main, info_name="3dinv", **main.context_settings)
    _, command, rest = main.resolve_command(parent, words)
    if isinstance(command, click.Group) and rest:
        parent = click.Context(command, info_name=words[0], parent=parent)
        _, command, rest = command.resolve_command(parent, rest)
    assert command is not None
    if not rest and command.name != "run":
        return
    given = command.make_context(words[0], rest, parent=parent).params
    if command.name == "run":
        check_run(given, parse_overrides(given["settings"]))
    if command.name == "train" and given["plugin"]:
        check_train(given, parse_overrides(given["settings"]))
    if command.name == "info" and not given["plugin"].isupper():
        assert given["plugin"] in INVENTED | {r.name for r in registry().records}


def check_run(given: dict[str, Any], settings: Options) -> None:
    """Options of methods, generators and losses exist."""
    own = given["method"] in INVENTED
    method = registry().load("methods", "wplus" if own else given["method"])
    invented = given["generator"] in INVENTED
    generator = registry().load("generators", "toy" if invented else given["generator"])
    preset = preset_options(method, given["preset"], "preset")
    options = merge(preset, settings)
    build_config(generator.Config, options.pop("generator", {}), "generator")
    config = build_config(method.Config, options, "method")
    for name, term in getattr(config, "losses", {}).items():
        if name not in INVENTED:
            loss = registry().load("losses", term.loss or name)
            build_config(loss.Config, term.model_extra or {}, name)


def check_train(given: dict[str, Any], settings: Options) -> None:
    """Options of plugins and their trainings exist."""
    _, plugin = find_trainable(given["plugin"])
    assert given["preset"] is None or given["preset"] in plugin.training_presets
    build_config(plugin.Training, settings.pop("training", {}), "training")
    generator = registry().load("generators", given["generator"])
    build_config(generator.Config, settings.pop("generator", {}), "generator")
    build_config(plugin.Config, settings, "plugin")


def module_lines() -> list[str]:
    """Every `python -m tools...` and `python -m benchmarks...` in a shell block."""
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    start = "python -m "
    found = [line.removeprefix(start) for line in lines if line.startswith(start)]
    return [line for line in found if line.startswith(("tools.", "benchmarks."))]


@pytest.mark.parametrize("line", module_lines())
def test_lines_of_our_tools_parse(line: str) -> None:
    module, *words = shlex.split(line)
    command: click.Command = importlib.import_module(module).main
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    command.make_context(module, words)


# --- plugins and hooks


def test_every_hook_is_documented_with_its_arguments() -> None:
    page = text_of(DOCS / "plugins.md")
    found = [n for n in vars(HookSpecs) if n.startswith("inv3d_")]
    assert found
    for name in found:
        arguments = list(inspect.signature(getattr(HookSpecs, name)).parameters)[1:]
        assert f"| `{name}({', '.join(arguments)})` |" in page
    assert set(re.findall(r"\| `(inv3d_\w+)\(", page)) == set(found)


@pytest.mark.parametrize("kind", ["generators", "methods", "losses"])
def test_every_built_in_plugin_is_documented(kind: str) -> None:
    names = [record.name for record in registry().of_kind(kind) if record.own]
    assert names
    for name in names:
        assert f"`{name}`" in text_of(ROOT / "README.md"), name
        page = text_of(DOCS / f"{kind}.md")
        assert f"`{name}`" in page or f"## {name}\n" in page, name


def test_every_preset_of_a_method_is_documented() -> None:
    page = text_of(DOCS / "methods.md")
    for record in registry().of_kind("methods"):
        for preset in registry().load("methods", record.name).presets:
            assert f"`{preset}`" in page, (record.name, preset)


def test_numbers_of_minihead_are_those_of_the_code() -> None:
    page = text_of(DOCS / "generators.md")
    losses = ", ".join(f"`{name}` {weight:g}" for name, weight in LOSSES.items())
    assert f"Default losses: {losses}." in page
    for name in ("render_resolution", "samples", "sampling"):
        default = MiniHeadConfig.model_fields[name].default
        assert re.search(rf"^\| `{name}` \| `?{default}`? \|", page, re.MULTILINE), name


def test_numbers_of_the_depth_consistency_are_those_of_the_code() -> None:
    page = text_of(DOCS / "results.md")
    assert f"at most\n  {CONSISTENCY_LATENTS}) are chosen" in page
    assert f"at most\n  {CONSISTENCY_VIEWS}), with" in page
    assert f"or {CONSISTENCY_RAYS} x {CONSISTENCY_RAYS} if" in page


def module_of(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Make a module out of a block of the documentation."""
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, types.ModuleType]]:
    """The programs on the page about plugins: loss, method, generator, hooks."""
    sources = blocks(DOCS / "plugins.md", "python")
    names = (
        *("inv3d_edges", "inv3d_plain", "inv3d_balloon", "inv3d_ball", "inv3d_calm"),
        "inv3d_loss_csv",
    )
    plugins = [source for source in sources if "check_plugin" not in source]
    made = {n: module_of(s, n, monkeypatch) for n, s in zip(names, plugins, strict=True)}
    monkeypatch.setenv("INV3D_PLUGINS", "losses:edges=inv3d_edges:Edges")
    registry.cache_clear()
    yield made
    registry.cache_clear()


@pytest.mark.parametrize(
    ("kind", "name", "target"),
    [
        ("losses", "edges", "inv3d_edges:Edges"),
        ("methods", "plain", "inv3d_plain:Plain"),
        ("generators", "balloon", "inv3d_balloon:Balloon"),
        ("generators", "ball", "inv3d_ball:Ball"),
    ],
)
@pytest.mark.usefixtures("examples")
def test_plugins_of_the_documentation_can_be_used(kind: str, name: str, target: str) -> None:
    checked, _ = import_plugin(PluginRecord(name, kind, "of the docs", "1", target))
    assert (checked.status, checked.reason) == ("ok", "")


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("inv3d_edges", "Edges"),
        ("inv3d_plain", "Plain"),
        ("inv3d_balloon", "Balloon"),
        ("inv3d_calm", "Calm"),
    ],
)
def test_plugins_of_the_documentation_pass_the_suite(
    examples: dict[str, types.ModuleType], module: str, kind: str
) -> None:
    check_plugin(getattr(examples[module], kind)).require()


def test_the_documentation_counts_the_checks() -> None:
    page = text_of(DOCS / "plugins.md")
    for kind, count in CHECKS.items():
        assert f"| {kind} | {count} |" in page


def test_the_documentation_names_every_field_of_a_row() -> None:
    table = text_of(DOCS / "plugins.md").partition("## What `--json` says")[2]
    for field in dataclasses.fields(PluginRecord):
        assert f"`{field.name}`" in table


def test_the_loss_of_the_documentation_works(examples: dict[str, types.ModuleType]) -> None:
    loss: Loss = Context.create().loss("edges", LossTerm.model_validate({"step": 2}))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    cache = loss.prepare(Target(images))
    assert torch.equal(loss(Rendering(image=images), cache), torch.zeros(3))
    assert (loss(Rendering(image=-images), cache) > 0).all()
    part = loss.select(cache, slice(1, 2))
    assert loss(Rendering(image=-images[1:2]), part).shape == (1,)


def test_the_package_of_the_documentation_names_the_loss(
    examples: dict[str, types.ModuleType],
) -> None:
    package, hooks = (tomllib.loads(block) for block in blocks(DOCS / "plugins.md", "toml"))
    (name,) = package["project"]["entry-points"]["inv3d.losses"]
    module, _, attribute = package["project"]["entry-points"]["inv3d.losses"][name].partition(":")
    assert getattr(examples[module], attribute).name == name
    assert package["tool"]["hatch"]["build"]["targets"]["wheel"]["include"] == [f"{module}.py"]
    assert set(hooks["project"]["entry-points"]["inv3d.hooks"].values()) <= set(examples)


def test_the_method_of_the_documentation_works(examples: dict[str, types.ModuleType]) -> None:
    generator = ToyGenerator(ToyConfig())
    kind = examples["inv3d_plain"].Plain
    method = kind.create(build_config(kind.Config, {"steps": 30, "lr": 0.03}, "plain"))
    steps: list[Progress] = []
    capture = toy_capture(generator, 3)
    inversion = method.invert(generator, capture, Context.create(), steps.append)
    assert len(steps) == 30
    assert steps[-1].losses["total"] < steps[0].losses["total"] / 2
    assert inversion.ws.shape == (1, generator.spec.num_ws, generator.spec.w_dim)


def test_a_generator_from_nothing_is_inverted_into(
    examples: dict[str, types.ModuleType],
) -> None:
    kind = examples["inv3d_balloon"].Balloon
    generator = kind.create(kind.Config())
    capture = toy_capture(generator, 4)
    method = load_method("multiview", {"latent": {"steps": 30, "samples": 50}}, generator)
    steps: list[Progress] = []
    method.invert(generator, capture, Context.create(), steps.append)
    assert steps[29].losses["mse"] < steps[0].losses["mse"] / 2
    camera = generator.spec.camera.orbit(torch.tensor([0.3, -0.3, 0.1, 0.2]))
    scene = generator.synthesize(torch.randn(2, 1, 8))
    seen = generator.render(scene, camera, outputs=("image", "depth"), resolution=16)
    assert seen.require("image").shape == (4, 3, 16, 16)
    assert seen.require("depth").shape == (4, 1, 16, 16)


def test_the_generator_of_the_documentation_works(
    examples: dict[str, types.ModuleType], tmp_path: Path
) -> None:
    architecture = Architecture(**TINY)
    kind = examples["inv3d_ball"].Ball
    with pytest.raises(WeightsError, match="--weights"):
        kind.create(kind.Config())
    path = tmp_path / "ball.safetensors"
    facts = {"architecture": architecture.model_dump(mode="json")}
    write_tensors(path, kind(architecture).state_dict(), facts)
    generator = kind.create(kind.Config(), path)
    scene = generator.synthesize(generator.map(torch.randn(1, architecture.z_dim)))
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.45, 0.45, 0.0], [0.45, 0.0, 0.0]]])
    (density,) = generator.sample(scene, points)[0]
    assert density[0] > 0 and density[2] > 0 and density[1] < 1e-6
    camera = generator.spec.camera.front()
    image = generator.render(scene, camera).require("image")
    assert image.shape[-1] == architecture.img_resolution and image.isfinite().all()


@torch.no_grad()
def test_the_editor_of_the_documentation_works(examples: dict[str, types.ModuleType]) -> None:
    calm = examples["inv3d_calm"].Calm
    generator = ToyGenerator(ToyConfig())
    capture = toy_capture(generator, 3, motion=0.5)
    inversion = Inversion(
        toy_latents(generator, 3, motion=0.5), capture.camera, "toy", generator.spec.fingerprint
    )
    subject = Subject(generator, inversion)
    edited = calm(PluginConfig()).apply(subject, calm.Edit(strength=1.0, end=2))
    assert torch.allclose(edited.ws[:, :2], edited.ws[:1, :1].expand(3, 2, -1), atol=1e-6)
    assert torch.equal(edited.ws[:, 2:], inversion.ws[:, 2:])
    assert edited.history[-1].name == "calm"


def test_the_hooks_of_the_documentation_work(
    examples: dict[str, types.ModuleType], tmp_path: Path
) -> None:
    module = examples["inv3d_loss_csv"]
    assert misspelt_hook(module) == ""
    module.inv3d_run_start(tmp_path)
    progress = types.SimpleNamespace(stage="latent", step=0, losses={"total": 0.5})
    module.inv3d_run_step(tmp_path, progress)
    assert (tmp_path / "loss.csv").read_text() == "stage,step,loss\nlatent,0,0.5\n"


# --- programs and links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_import_what_there_is(page: Path) -> None:
    for source in blocks(page, "python"):
        for node in ast.walk(ast.parse(textwrap.dedent(source))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inv3d"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text_of(page)):
        if target.startswith(("http://", "https://")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in slugs(path), f"{target}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", text_of(DOCS / "index.md")))
    assert {page.name for page in DOCS.glob("*.md")} - linked <= {"index.md", "minihead.md"}


# --- messages about wrong input

SOURCES = [
    *(
        ROOT / "inv3d/io" / f"{name}.py"
        for name in (
            *("files", "decoding", "images", "labels", "dataset", "capturefiles", "naming"),
            *("cameras", "transforms", "colmap", "pinhole", "rawcameras"),
        )
    ),
    ROOT / "inv3d/core/capture.py",
    ROOT / "inv3d/core/framing.py",
    ROOT / "inv3d/core/poses.py",
    ROOT / "inv3d/plugins/methods/multilatent/views.py",
    ROOT / "inv3d/runs/init.py",
    ROOT / "inv3d/runs/prepare.py",
]
GAP = "…"
INPUT_ERRORS = ("InputError", "UnsupportedError")


def templates() -> list[str]:
    """The texts of all InputErrors, with a gap for everything that's put in."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in INPUT_ERRORS:
                (text,) = node.args
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                found.append("".join(map(written, parts)))
    return found


def written(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return "25" if getattr(part.value, "id", "") == "LABEL_LENGTH" else GAP


def squeezed(text: str) -> str:
    """Without gaps and what stands next to them, to compare with a part of the text."""
    return re.sub(rf"[\s{GAP}]+", " ", text).strip(" :")


def documented_messages() -> list[str]:
    page = text_of(DOCS / "captures.md")
    rows = page[page.index("## Messages") :]
    return re.findall(r"^\| `(.+?)` \|", rows, re.MULTILINE)


def test_every_message_about_input_is_documented() -> None:
    messages = [squeezed(message) for message in documented_messages()]
    for template in templates():
        assert any(message in squeezed(template) for message in messages), template


def test_documented_messages_exist() -> None:
    known = [squeezed(template) for template in templates()]
    for message in documented_messages():
        assert any(squeezed(message) in template for template in known), message
