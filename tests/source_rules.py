"""The house rules as programs that read the source: who imports whom, what nobody uses, how a file begins."""

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

# Package -> the packages its modules may import. "" is robossl/__init__.py.
CORE_PACKAGES = {
    "core", "logging", "registry", "rollout", "streams", "world_model", "evaluation", "training", "env_checker", "cli",
}  # fmt: skip
ALLOWED = {
    "": CORE_PACKAGES,
    "core": {"core"},
    "logging": {"core", "logging"},
    "registry": {"core", "registry"},
    "rollout": {"core", "rollout"},
    "streams": {"core", "streams"},
    "world_model": {"core", "streams", "world_model"},
    "evaluation": {"core", "registry", "rollout", "streams", "world_model", "evaluation"},
    "training": CORE_PACKAGES - {"cli", "env_checker"} | {""},
    "env_checker": CORE_PACKAGES - {"cli"} | {""},
    "cli": CORE_PACKAGES | {""},
    "envs": {"core", "envs"},
    "agents": {"core", "rollout", "streams", "world_model", "agents"},
    "assets": set(),
}
LEAVES = ("envs", "agents", "assets")
PLUGINS = "robossl.registry"  # the one place where leaves are looked up by name
RUNS_CODE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
LONGEST = 400  # [lines]


class Import(NamedTuple):
    """One imported name, made absolute."""

    target: str  # a module of ours by its full name, or whatever stands in the source
    line: int
    relative: bool
    at_import: bool  # runs when the module is imported: in no function, not for type checkers only


class Module:
    """A source file under the name by which it is imported."""

    def __init__(self, name: str, text: str, package: bool = False) -> None:
        self.name, self.text, self.package = name, text, package
        self.tree = ast.parse(text)

    @property
    def room(self) -> str:
        return (self.name.split(".") + [""])[1]

    def imports(self, known: Iterable[str]) -> Iterator[Import]:
        for node, at_import in _walk(self.tree, True):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno, False, at_import)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    full = f"{base}.{alias.name}"  # a name may be a module below
                    yield Import(full if full in known else base, node.lineno, node.level > 0, at_import)

    def _absolute(self, node: ast.ImportFrom) -> str:
        above = self.name.split(".")
        above = above[: len(above) - node.level + self.package] if node.level else []
        return ".".join([*above, *([node.module] if node.module else [])])

    def literals(self) -> Iterator[ast.Constant]:
        """The strings of the source that are no docstrings."""
        words = {id(n.value) for n in ast.walk(self.tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                yield node


def _walk(node: ast.AST, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        runs = at_import and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield part, False
                yield from _walk(part, False)
            for part in child.orelse:
                yield part, runs
                yield from _walk(part, runs)
            continue
        yield child, runs
        yield from _walk(child, runs)


def read_house() -> list[Module]:
    """Every module that is shipped."""
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
    """Imports point down the house, never up and never across."""
    for target, line, _, _ in module.imports(known):
        if target.split(".")[0] == "robossl":
            room = (target.split(".") + [""])[1]
            if room not in ALLOWED[module.room]:
                yield line, f"{module.room or 'robossl'} may not import {target}"


def names_no_leaf(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """The trunk hands leaves around and never names one, not even in a string to import."""
    if module.room in LEAVES or module.name == PLUGINS:
        return
    for node in module.literals():
        if re.fullmatch(r"robossl\.(envs|agents)[\w.]*", node.value):
            yield node.lineno, f"the trunk names a leaf: {node.value!r}; names are looked up in {PLUGINS}"


def is_relative_among_leaves(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Inside a leaf folder imports are relative; to the trunk they are absolute."""
    if module.room not in LEAVES:
        return
    home = f"robossl.{module.room}"
    for target, line, relative, _ in module.imports(known):
        at_home = target == home or target.startswith(home + ".")
        if at_home and not relative:
            yield line, f"{target} is a neighbour; import it with a dot"
        if relative and not at_home:
            yield line, f"{target} is not a neighbour; import it by its full name"


def imports_no_bare_leaf(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """`envs`, `agents` and `assets` exist as parts of robossl only."""
    for target, line, _, _ in module.imports(known):
        if target.split(".")[0] in LEAVES:
            yield line, f"import robossl.{target}, there is no {target}"


def runs_no_loaded_code(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Nothing that is loaded can run: no pickle, no marshal, no eval, no exec, no torch.load."""
    for target, line, _, _ in module.imports(known):
        if target.split(".")[0] in RUNS_CODE:
            yield line, f"{target} runs what it loads"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in {"eval", "exec"}:
            yield node.lineno, f"{node.id} runs whatever it is given"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            yield node.lineno, "torch.load runs what it loads; see core/files.py"
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in _names(node):
            yield node.lineno, "torch.load runs what it loads; see core/files.py"
        if isinstance(node, ast.keyword) and ast.unparse(node) == "allow_pickle=True":
            yield node.value.lineno, "allow_pickle runs what it reads"


def _names(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def swallows_nothing(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """An `except` says what it expects."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except"


def names_no_device(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """Devices are given, not written into the source."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"cuda:\d", line):
            yield number, "a device is written into the source"


def begins_with_what_it_is(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """The first line of a file says what the thing is."""
    words = ast.get_docstring(module.tree)
    first = words.splitlines()[0].strip() if words else ""
    if not first or module.tree.body[0].lineno != 1:
        yield 1, "the first line does not say what this is"


def is_short(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    """A file that wants to be long holds two ideas."""
    count = len(module.text.splitlines())
    if count > LONGEST:
        yield count, f"{count} lines; {LONGEST} are the most"


RULES: list[Rule] = [
    keeps_direction,
    names_no_leaf,
    is_relative_among_leaves,
    imports_no_bare_leaf,
    runs_no_loaded_code,
    swallows_nothing,
    names_no_device,
    begins_with_what_it_is,
    is_short,
]


def find_circle(modules: list[Module]) -> list[str]:
    """Modules that need each other while they are being imported; empty when there is no such circle."""
    known = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        needed: set[str] = set()
        for target, _, _, at_import in module.imports(known):
            if at_import:
                parts = target.split(".")
                # importing a.b.c runs a and a.b first; those the module lies in are running already
                above = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
                needed |= {n for n in above if n == target or not module.name.startswith(n + ".")}
        graph[module.name] = (needed & known) - {module.name}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []
