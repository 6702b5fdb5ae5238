"""Rules of the source code: direction of imports, circles, unsafe loading, first lines, length."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "robossl": "robossl",
    "robossl.envs": "envs",
    "robossl.agents": "agents",
    "robossl.assets": "assets",
}

# Package -> the packages that its modules may import; "" is robossl/__init__.py.
CORE_PACKAGES = {
    "core", "cells", "logging", "env_objects", "env_registry", "registry", "rollout", "streams", "world_model",
    "evaluation", "training", "study", "sweeps", "env_checker", "cli",
}  # fmt: skip
ALLOWED = {
    "": CORE_PACKAGES | {"plot"},
    "__main__": {"cli"},
    "core": {"core"},
    "cells": {"core", "cells"},
    "logging": {"core", "logging"},
    "env_registry": {"core", "env_registry"},
    "env_objects": {"core", "env_registry"},
    "registry": {"core", "env_objects", "env_registry", "registry"},
    "rollout": {"core", "rollout"},
    "streams": {"core", "rollout", "streams"},
    "world_model": {"core", "registry", "streams", "world_model"},
    "evaluation": {"core", "registry", "rollout", "streams", "world_model", "evaluation"},
    "training": CORE_PACKAGES - {"cli", "env_checker", "study", "sweeps"} | {""},
    "study": CORE_PACKAGES - {"cli", "env_checker", "sweeps"} | {""},
    "sweeps": CORE_PACKAGES - {"cli", "env_checker"} | {""},
    "plot": {"core", "logging", "streams", "world_model", "evaluation"},
    "watch": {"core", "logging", "streams", "world_model", "evaluation", "training", "watch"},
    "env_checker": CORE_PACKAGES - {"cli"} | {""},
    "cli": CORE_PACKAGES | {"", "watch"},
    "envs": {"core", "envs"},
    "agents": {"core", "rollout", "streams", "world_model", "agents"},
    "assets": set(),
}
PLUGIN_PACKAGES = ("envs", "agents", "assets")
REGISTRY = "robossl.registry"  # this module and that of the envs are the only ones that name plug-in packages
RUNS_CODE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
LONGEST = 400  # [lines]


class Import(NamedTuple):
    """One imported name, made absolute."""

    target: str  # full module name for modules of the project, else as written
    line: int
    relative: bool


class Module:
    """A source file with the name by which it is imported."""

    def __init__(self, name: str, text: str, package: bool = False) -> None:
        self.name, self.text, self.package = name, text, package
        self.tree = ast.parse(text)

    @property
    def subpackage(self) -> str:
        return (self.name.split(".") + [""])[1]

    def imports(self, known: Iterable[str]) -> Iterator[Import]:
        """Yield every import, in functions and for type checkers too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, False)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    full = f"{base}.{alias.name}"  # a name may be a module below
                    yield Import(full if full in known else base, node.lineno, node.level > 0)

    def _absolute(self, node: ast.ImportFrom) -> str:
        above = self.name.split(".")
        above = above[: len(above) - node.level + self.package] if node.level else []
        return ".".join([*above, *([node.module] if node.module else [])])

    def literals(self) -> Iterator[ast.Constant]:
        """Yield string constants that are not docstrings."""
        docstrings = {id(n.value) for n in ast.walk(self.tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield node


def read_modules() -> list[Module]:
    """Return every module that is installed."""
    modules = []
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            own = parts[-1] == "__init__"
            name = ".".join([package, *(parts[:-1] if own else parts)])
            modules.append(Module(name, path.read_text(encoding="utf-8"), own))
    return modules


Rule = Callable[[Module, set[str]], Iterator[tuple[int, str]]]


def keeps_direction(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Imports follow the direction of docs/architecture.md."""
    for target, line, _ in module.imports(known):
        if target.split(".")[0] == "robossl":
            subpackage = (target.split(".") + [""])[1]
            if subpackage not in ALLOWED[module.subpackage]:
                yield line, f"{module.subpackage or 'robossl'} may not import {target}"


def names_no_plugin(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Core packages never name a robot or an agent module, not even in a string."""
    if module.subpackage in PLUGIN_PACKAGES or module.name in (REGISTRY, "robossl.env_registry"):
        return
    for node in module.literals():
        if re.fullmatch(r"robossl\.(envs|agents)[\w.]*", node.value):
            yield node.lineno, f"a core package names a plug-in: {node.value!r}; look names up in {REGISTRY}"


def is_relative_among_plugins(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Imports inside a plug-in package are relative; imports of core packages are absolute."""
    if module.subpackage not in PLUGIN_PACKAGES:
        return
    home = f"robossl.{module.subpackage}"
    for target, line, relative in module.imports(known):
        at_home = target == home or target.startswith(home + ".")
        if at_home and not relative:
            yield line, f"{target} is in the same plug-in package; use a relative import"
        if relative and not at_home:
            yield line, f"{target} is outside the plug-in package; use its full name"


def imports_no_bare_plugin(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """`envs`, `agents` and `assets` are imported as parts of robossl."""
    for target, line, _ in module.imports(known):
        if target.split(".")[0] in PLUGIN_PACKAGES:
            yield line, f"import robossl.{target} instead of {target}"


def runs_no_loaded_code(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Loading runs no code: no pickle, marshal, eval, exec or torch.load."""
    for target, line, _ in module.imports(known):
        if target.split(".")[0] in RUNS_CODE:
            yield line, f"{target} runs what it loads"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in {"eval", "exec"}:
            yield node.lineno, f"{node.id} runs the text that it gets"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            yield node.lineno, "torch.load runs what it loads; see core/io.py"
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in _names(node):
            yield node.lineno, "torch.load runs what it loads; see core/io.py"
        if isinstance(node, ast.keyword) and ast.unparse(node) == "allow_pickle=True":
            yield node.value.lineno, "allow_pickle runs what it reads"


def _names(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def swallows_nothing(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Every `except` names the exceptions."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except"


def names_no_device(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Devices are arguments, not constants."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"cuda:\d", line):
            yield number, "a device is a constant"


def begins_with_docstring(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """The first line of a file is a docstring that names what the module provides."""
    docstring = ast.get_docstring(module.tree)
    first = docstring.splitlines()[0].strip() if docstring else ""
    if not first or module.tree.body[0].lineno != 1:
        yield 1, "the first line is not a docstring"


def is_short(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """A long file holds two ideas."""
    count = len(module.text.splitlines())
    if count > LONGEST:
        yield count, f"{count} lines; at most {LONGEST}"


RULES: list[Rule] = [
    keeps_direction,
    names_no_plugin,
    is_relative_among_plugins,
    imports_no_bare_plugin,
    runs_no_loaded_code,
    swallows_nothing,
    names_no_device,
    begins_with_docstring,
    is_short,
]


def find_circle(modules: list[Module]) -> list[str]:
    """Return the modules of an import circle, empty if there is none. Lazy and type-only imports count.

    Importing a name from a package counts as importing the package's `__init__`, except from inside it.
    """
    known = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        targets = {target for target, _, _ in module.imports(known)}
        graph[module.name] = {t for t in targets & known if not f"{module.name}.".startswith(f"{t}.")}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


# Names that several packages use for the same role; a search by name finds the package with them.
SHARED_MODULE_NAMES = {"config"}


def repeated_module_names(modules: list[Module]) -> dict[str, list[str]]:
    """Return module names that occur more than once, with their full names."""
    found: dict[str, list[str]] = {}
    for module in modules:
        if not module.package:
            found.setdefault(module.name.rpartition(".")[2], []).append(module.name)
    return {name: full for name, full in found.items() if len(full) > 1 and name not in SHARED_MODULE_NAMES}
