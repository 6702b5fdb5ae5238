"""Errors: one line with the unknown name, close matches and the available names."""

from __future__ import annotations

import doctest
import importlib
import shlex

import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError, shell_path, unknown_name_error


def test_close_matches_come_first_and_all_names_are_listed():
    message = str(unknown_name_error("env", "reecher", ["pusher", "reacher", "point"]))
    assert message == "no 'reecher' among the envs; did you mean 'reacher'? available: point, pusher, reacher"


@pytest.mark.parametrize("name", ["", "zzz", "a\nb", "x" * 200, "'"])
def test_error_of_any_name_is_one_line(name):
    message = str(unknown_name_error("agent", name, ["sac"]))
    assert "\n" not in message
    assert message.endswith("available: sac")


def test_no_available_names_is_none():
    assert str(unknown_name_error("run", "x", [])) == "no 'x' among the runs; available: none"


def test_plural_of_kinds_ending_in_y():
    assert "among the policies;" in str(unknown_name_error("policy", "x", ["colored_noise"]))
    assert "among the config keys;" in str(unknown_name_error("config key", "x", ["seed"]))


def test_names_can_be_a_generator():
    assert "'sac'" in str(unknown_name_error("agent", "sax", (n for n in ["sac", "td3"])))


def test_corrupted_file_is_an_operation_error():
    assert issubclass(CorruptedFileError, OperationError)
    assert not issubclass(CorruptedFileError, UsageError)
    assert not issubclass(OperationError, UsageError)


@pytest.mark.parametrize("module", ["errors", "seeding", "spaces"])
def test_docstring_examples_are_correct(module):
    results = doctest.testmod(importlib.import_module(f"robossl.core.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


def test_path_with_spaces_is_quoted_for_a_command_line():
    assert shell_path("runs/reacher") == "runs/reacher"
    assert shell_path("my runs/a'b") == shlex.quote("my runs/a'b") != "my runs/a'b"
