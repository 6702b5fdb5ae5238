"""Generated pages of the documentation: command line, settings, Python API, and pages from files beside docs/."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import shutil
from pathlib import Path

import robossl
from robossl.cli.config import _text
from robossl.cli.main import COMMANDS, _make_parser
from robossl.training.config import LearnConfig
from robossl.training.config_io import field_descriptions, flatten_fields

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
COPIED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
_CLASSES = (
    "EvaluationReport",
    "LearnConfig",
    "RepresentationVectorWrapper",
    "RepresentationWrapper",
    "Run",
    "Stream",
    "WorldModel",
    "WorldModelConfig",
)
_PACKAGES = {  # documented below the names of `robossl` itself
    "robossl.streams": "The record of interaction.",
    "robossl.streams.formats": "Minari and LeRobot.",
    "robossl.world_model": "Model, training, imagined env and learned reward.",
    "robossl.world_model.goal_heads": "Networks for reaching goals.",
    "robossl.envs": "Robots, tasks, and vector envs.",
    "robossl.agents": "Planner, and Stable-Baselines3 with a representation.",
}
_API_INTRODUCTION = "Generated from the docstrings. [Python](../python.md) shows how the parts fit together."
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


def write(docs: Path) -> None:
    """Write the generated pages into docs/; files that are right already stay as they are."""
    pages = {
        "reference/cli.md": command_line(),
        "reference/config.md": settings(),
        "reference/api.md": python_api(),
        **{page: _copied(ROOT / source) for source, page in COPIED.items()},
    }
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def execution_cache(root: Path) -> Path:
    """Return the folder of executed tutorials of these sources and models; those of others are removed.

    The cache of MyST-NB compares the cells only, so the outputs of an older robossl would stay on the pages.
    """
    digest = hashlib.sha256()
    for folder in ("robossl", "envs", "agents", "assets"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    caches = root / "build" / "docs-cache"
    current = caches / digest.hexdigest()[:16]
    for other in caches.iterdir() if caches.is_dir() else ():
        if other != current:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    return current


def command_line() -> str:
    """Return the page of all commands: the text of their `--help`."""
    lines = [
        "# Command line",
        "",
        "Generated from `robossl COMMAND --help`. Settings: [configuration](config.md).",
        "",
    ]
    lines += ["| command | effect |", "| --- | --- |"]
    lines += [f"| [`robossl {c.name}`](#robossl-{c.name.replace(' ', '-')}) | {c.help} |" for c in COMMANDS]
    for command in COMMANDS:
        text = _make_parser(command, show_help=False).format_help().strip()
        lines += ["", f"## robossl {command.name}", "", "```text", text, "```"]
        if command.settings:
            prefixes = ", ".join(f"`{prefix}*`" for prefix in command.settings)
            lines += ["", f"It also takes the [settings](config.md) {prefixes} as flags."]
    codes = "Exit codes: 0 done; 1 the work failed; 2 the request was wrong; 130 interrupted, state saved."
    return "\n".join([*lines, "", "## Exit codes", "", codes, ""])


def settings() -> str:
    """Return the page of all settings with type, default and sentence."""
    descriptions = field_descriptions(LearnConfig)
    lines = [
        "# Configuration",
        "",
        "All settings of `robossl learn`, with their defaults. A setting is a flag (`--world_model.latent_dim 32`), a "
        "key of a TOML file (`--config FILE.toml`), or a field of `robossl.LearnConfig`. Every output folder has its "
        "settings in `config.toml`.",
    ]
    group = None
    for name, (_, default) in flatten_fields(LearnConfig).items():
        section = name.rpartition(".")[0].split(".")[0] or "run"
        if section != group:
            lines += ["", f"## {section}", "", "| setting | default | meaning |", "| --- | --- | --- |"]
            group = section
        meaning = descriptions.get(name, "").replace("|", "\\|")
        text = _text(default).replace(",", ", ")
        lines.append(f"| `{name}` | {f'`{text}`' if text else 'none'} | {meaning} |")
    return "\n".join([*lines, ""])


def python_api() -> str:
    """Return the page of the public names, documented from their docstrings."""
    names = [name for name in robossl.__all__ if name != "plot"]
    functions = [name for name in names if name not in _CLASSES and not name.endswith("Error")]
    lines = [
        "# Python API",
        "",
        _API_INTRODUCTION,
        "",
        "## Functions",
        "",
    ]
    lines += [f"```{{eval-rst}}\n.. autofunction:: robossl.{name}\n```\n" for name in functions]
    lines += ["## Figures", ""]
    lines += [
        f"```{{eval-rst}}\n.. autofunction:: robossl.plot.{name}\n```\n" for name in robossl.plot.__all__
    ]
    lines += ["## Classes", ""]
    lines += [f"```{{eval-rst}}\n.. autoclass:: robossl.{name}\n   :members:\n```\n" for name in _CLASSES]
    for module, subject in _PACKAGES.items():
        lines += [f"## {module}", "", subject, ""]
        lines += [_directive(module, name) for name in _own_names(module)]
    lines += ["## Errors", ""]
    lines += [
        f"```{{eval-rst}}\n.. autoexception:: robossl.{name}\n```\n"
        for name in names
        if name.endswith("Error")
    ]
    return "\n".join(lines)


def _own_names(module: str) -> list[str]:
    """Return the public functions and classes of a subpackage that `robossl` itself does not have."""
    package = importlib.import_module(module)
    things = {name: getattr(package, name) for name in package.__all__ if name not in robossl.__all__}
    return [name for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)]


def _directive(module: str, name: str) -> str:
    thing = getattr(importlib.import_module(module), name)
    kind = (
        "function" if inspect.isfunction(thing) else "exception" if issubclass(thing, Exception) else "class"
    )
    return f"```{{eval-rst}}\n.. auto{kind}:: {module}.{name}\n```\n"


def _copied(path: Path) -> str:
    """Return a page from the root of the project, with links as from docs/."""

    def replace(match: re.Match[str]) -> str:
        target = match[1]
        inside = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        return f"]({inside}{match[2] or ''})"

    return _LINK.sub(replace, path.read_text(encoding="utf-8"))
