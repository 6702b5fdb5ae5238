"""The source code follows its rules, and each rule fails on a snippet that breaks it."""

from __future__ import annotations

import tomllib

import pytest
from source_rules import (
    ALLOWED,
    FOLDERS,
    LONGEST,
    ROOT,
    RULES,
    Module,
    begins_with_docstring,
    find_circle,
    imports_no_bare_plugin,
    is_relative_among_plugins,
    is_short,
    keeps_direction,
    names_no_device,
    names_no_plugin,
    read_modules,
    repeated_module_names,
    runs_no_loaded_code,
    swallows_nothing,
)

MODULES = read_modules()
KNOWN = {module.name for module in MODULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_modules_follow_rule(rule):
    broken = [f"{m.name}, line {line}: {message}" for m in MODULES for line, message in rule(m, KNOWN)]
    assert not broken, "\n".join([rule.__doc__, *broken])


def test_no_import_circle_lazy_and_type_only_imports_counted():
    assert find_circle(MODULES) == []


def test_no_module_name_occurs_twice():
    assert repeated_module_names(MODULES) == {}


def test_every_subpackage_has_an_import_rule():
    assert {module.subpackage for module in MODULES} == set(ALLOWED)


def test_every_package_is_listed_for_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert listed["package-dir"] == FOLDERS
    needed = {module.name if module.package else module.name.rpartition(".")[0] for module in MODULES}
    assert needed == set(listed["packages"]), "pyproject.toml lists the packages by hand"


# (rule, module name, module text, whether the text breaks the rule)
D = '"""A thing."""\n'
CASES = [
    (keeps_direction, "robossl.core.a", D + "from robossl.streams import Stream", True),
    (keeps_direction, "robossl.core.a", D + "import robossl", True),
    (keeps_direction, "robossl.core.a", D + "from robossl.core.errors import WorkError", False),
    (keeps_direction, "robossl.core.a", D + "from ..world_model import model", True),
    (keeps_direction, "robossl.streams.a", D + "def f():\n    import robossl.world_model", True),
    (keeps_direction, "robossl.streams.a", D + "from robossl import core", False),
    (keeps_direction, "robossl.world_model.a", D + "import robossl.evaluation.goal_reaching as g", True),
    (keeps_direction, "robossl.world_model.a", D + "from robossl.streams import Stream", False),
    (keeps_direction, "robossl.world_model.a", D + "if True:\n    from robossl import training", True),
    (keeps_direction, "robossl.evaluation.a", D + "from robossl.world_model import WorldModel", False),
    (keeps_direction, "robossl.evaluation.a", D + "from robossl.agents.sb3 import Agent", True),
    (
        keeps_direction,
        "robossl.evaluation.a",
        D + "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from robossl.training import phases",
        True,
    ),
    (keeps_direction, "robossl.training.a", D + "from robossl.evaluation import report", False),
    (keeps_direction, "robossl.training.a", D + "from robossl.envs import reacher", True),
    (keeps_direction, "robossl", D + "import robossl.agents.sb3", True),
    (keeps_direction, "robossl.envs.a", D + "from robossl.core.errors import WorkError", False),
    (keeps_direction, "robossl.envs.a", D + "from robossl.streams import Stream", True),
    (keeps_direction, "robossl.envs.a", D + "from robossl.agents import noise", True),
    (keeps_direction, "robossl.agents.a", D + "from robossl.world_model import WorldModel", False),
    (keeps_direction, "robossl.agents.a", D + "from robossl.training import phases", True),
    (keeps_direction, "robossl.agents.a", D + "from robossl.evaluation import goals", True),
    (names_no_plugin, "robossl.training.a", D + 'load("robossl.envs.reacher")', True),
    (names_no_plugin, "robossl.world_model.a", D + 'load(f"robossl.agents.{name}")', True),
    (names_no_plugin, "robossl.registry", D + 'load("robossl.envs")', False),
    (names_no_plugin, "robossl.training.a", '"""robossl.envs"""\n', False),
    (names_no_plugin, "robossl.training.a", D + 'print("robossl.envs holds the envs")', False),
    (is_relative_among_plugins, "robossl.envs.a", D + "from robossl.envs.engine.task import Task", True),
    (is_relative_among_plugins, "robossl.envs.a", D + "from robossl.envs import task", True),
    (is_relative_among_plugins, "robossl.envs.a", D + "from .task import Task", False),
    (is_relative_among_plugins, "robossl.agents.a", D + "from . import noise", False),
    (is_relative_among_plugins, "robossl.agents.a", D + "from ..core.errors import WorkError", True),
    (is_relative_among_plugins, "robossl.agents.a", D + "import robossl.core.errors", False),
    (imports_no_bare_plugin, "robossl.training.a", D + "import envs.reacher", True),
    (imports_no_bare_plugin, "robossl.training.a", D + "def f():\n    from agents import sb3", True),
    (imports_no_bare_plugin, "robossl.agents.a", D + "import assets", True),
    (imports_no_bare_plugin, "robossl.envs.a", D + "import environments", False),
    (runs_no_loaded_code, "robossl.core.a", D + "import pickle", True),
    (runs_no_loaded_code, "robossl.core.a", D + "def f():\n    from marshal import loads", True),
    (runs_no_loaded_code, "robossl.core.a", D + "x = eval('1')", True),
    (runs_no_loaded_code, "robossl.core.a", D + "run = exec", True),
    (runs_no_loaded_code, "robossl.core.a", D + "model.eval()", False),
    (runs_no_loaded_code, "robossl.core.a", D + "import torch\ntorch.load('x')", True),
    (runs_no_loaded_code, "robossl.core.a", D + "from torch import load as read", True),
    (runs_no_loaded_code, "robossl.core.a", D + "import numpy\nnumpy.load('x', allow_pickle=True)", True),
    (runs_no_loaded_code, "robossl.core.a", D + "import numpy\nnumpy.load('x', allow_pickle=False)", False),
    (swallows_nothing, "robossl.core.a", D + "try:\n    f()\nexcept:\n    pass", True),
    (swallows_nothing, "robossl.core.a", D + "try:\n    f()\nexcept OSError:\n    g()", False),
    (names_no_device, "robossl.world_model.a", D + "device = 'cuda:0'", True),
    (names_no_device, "robossl.world_model.a", D + "device = 'cuda' if gpu else 'cpu'", False),
    (begins_with_docstring, "robossl.core.a", "import json", True),
    (begins_with_docstring, "robossl.core.a", "", True),
    (begins_with_docstring, "robossl.core.a", '"""   """\nimport json', True),
    (begins_with_docstring, "robossl.core.a", '# licence\n"""A thing."""', True),
    (begins_with_docstring, "robossl.core.a", D, False),
    (is_short, "robossl.core.a", D + "x = 1\n" * LONGEST, True),
    (is_short, "robossl.core.a", D + "x = 1\n" * (LONGEST - 1), False),
]


@pytest.mark.parametrize(("rule", "name", "text", "breaks"), CASES, ids=range(len(CASES)))
def test_rule_fails_only_on_what_breaks_it(rule, name, text, breaks):
    found = list(rule(Module(name, text, package=name == "robossl"), KNOWN | {name}))
    assert bool(found) == breaks, found


def test_every_rule_has_a_failing_snippet():
    assert {rule for rule, _, _, breaks in CASES if breaks} == set(RULES)


CIRCLES = [
    ({"robossl.a": "from robossl.b import x", "robossl.b": "import robossl.a"}, True),
    ({"robossl.a": "from . import b", "robossl.b": "class C:\n    from .a import x"}, True),
    ({"robossl.a": "from . import b", "robossl.b": "def f():\n    from . import a"}, True),
    ({"robossl.a": "from . import b", "robossl.b": "if TYPE_CHECKING:\n    from . import a"}, True),
    ({"robossl.a": "from . import b", "robossl.b": "from . import c", "robossl.c": "from . import a"}, True),
    ({"robossl.a": "from . import b", "robossl.b": "from . import c", "robossl.c": ""}, False),
    ({"robossl.p": "from .q import x", "robossl.p.q": "from . import r", "robossl.p.r": ""}, False),
    ({"robossl.p": "from .q import x", "robossl.p.q": "", "robossl.a": "from robossl.p import x"}, False),
    (
        {"robossl.p": "from robossl.a import x", "robossl.p.q": "", "robossl.a": "from robossl.p import y"},
        True,
    ),
]


@pytest.mark.parametrize(("texts", "circle"), CIRCLES, ids=range(len(CIRCLES)))
def test_circle_is_found_only_where_there_is_one(texts, circle):
    packages = {name.rpartition(".")[0] for name in texts}
    assert bool(find_circle([Module(n, D + t, n in packages) for n, t in texts.items()])) == circle


def test_version_is_the_same_in_all_files():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'__version__ = "{version}"' in (ROOT / "robossl" / "__init__.py").read_text(encoding="utf-8")
