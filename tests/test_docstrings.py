"""Docstrings of the public names have the arguments and an example; settings have a sentence that `--help` shows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap

import pytest
from cli_runner import succeed

import robossl
from robossl.core.field_comments import field_comments
from robossl.training.config import LearnConfig
from robossl.training.config_io import field_descriptions, flatten_fields

MODULES = (
    "robossl",
    "robossl.agents",
    "robossl.envs",
    "robossl.plot",
    "robossl.streams",
    "robossl.streams.formats",
    "robossl.world_model",
    "robossl.world_model.goal_heads",
)
_EXAMPLE = re.compile(r"^Example:\n((?:    .*\n|\n)+)", re.M)


def public_names() -> dict[str, object]:
    """Return the public functions and classes by full name."""
    names = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            thing = getattr(module, name)
            if (inspect.isclass(thing) and not issubclass(thing, tuple)) or inspect.isfunction(thing):
                names[f"{module.__name__}.{name}"] = thing
    return names


NAMES = public_names()


def documentation(thing: object) -> str:
    """Return the docstring, of a class also that of its constructor."""
    own = inspect.getdoc(thing) or ""
    init = vars(thing).get("__init__") if inspect.isclass(thing) else None
    return own + "\n\n" + (inspect.getdoc(init) or "" if init else "")


def undocumented_arguments(thing: object) -> set[str]:
    """Return the arguments that no docstring and, in a dataclass, no comment explains."""
    if dataclasses.is_dataclass(thing):
        own = [f.name for f in dataclasses.fields(thing) if not dataclasses.is_dataclass(f.default_factory)]
        return set(own) - set(field_comments(thing))
    function = vars(thing).get("__init__") if inspect.isclass(thing) else thing
    if function is None or getattr(thing, "_is_protocol", False):
        return set()
    names = set(inspect.signature(function).parameters) - {"self", "args", "kwargs"}
    return {name for name in names if not re.search(rf"^ +\**{name}\b.*:", documentation(thing), re.M)}


@pytest.mark.parametrize("name", NAMES)
def test_public_name_has_a_first_line_its_arguments_and_an_example_that_parses(name):
    thing = NAMES[name]
    text = documentation(thing)
    assert len(text.partition("\n")[0].split()) > 3
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    assert not undocumented_arguments(thing)
    found = _EXAMPLE.search(text + "\n")
    assert found, "no example"
    for node in ast.walk(ast.parse(textwrap.dedent(found[1]))):
        if isinstance(node, ast.Attribute) and (path := ast.unparse(node)).startswith("robossl."):
            resolve(path)


def resolve(path: str) -> None:
    """Raise AttributeError if a dotted name of robossl, as it stands in an example, does not exist."""
    if "(" in path or "[" in path:
        return
    thing: object = robossl
    for part in path.split(".")[1:]:
        if inspect.ismodule(thing) and not hasattr(thing, part):
            importlib.import_module(f"{thing.__name__}.{part}")
        thing = getattr(thing, part)


def test_docstring_without_an_argument_is_noticed():
    def function(first, second):
        """Do something with two arguments.

        Args:
            first: The first one.
        """

    assert undocumented_arguments(function) == {"second"}


def test_help_shows_a_sentence_for_every_setting(tmp_path):
    text = re.sub(r"\s+", " ", succeed(tmp_path, "learn", "--help").stdout)
    descriptions = field_descriptions(LearnConfig)
    for name in flatten_fields(LearnConfig):
        if "." not in name:  # a flag of the command
            assert name == "env" or re.search(rf"--{name.replace('_', '-')}\b[^-]{{12,}}", text), name
            continue
        assert len(descriptions.get(name, "").split()) >= 3, name
        assert re.sub(r"\s+", " ", descriptions[name]) in text, name
