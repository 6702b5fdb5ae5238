"""Laws of errors: one line that says what was given, what is near and what there is."""

from __future__ import annotations

import doctest
import importlib

import pytest

from robossl.core.errors import CorruptedFileError, OperationError, UsageError, unknown_name_error


def test_the_near_names_come_first_and_all_are_listed():
    words = str(unknown_name_error("env", "reecher", ["pusher", "reacher", "point"]))
    assert words == "no 'reecher' among the envs; did you mean 'reacher'? there are: point, pusher, reacher"


@pytest.mark.parametrize("name", ["", "zzz", "a\nb", "x" * 200, "'"])
def test_any_name_gets_one_line(name):
    words = str(unknown_name_error("agent", name, ["sac"]))
    assert "\n" not in words
    assert words.endswith("there are: sac")


def test_an_empty_house_says_so():
    assert str(unknown_name_error("run", "x", [])) == "no 'x' among the runs; there are: none"


def test_more_than_one_of_them_are_named_as_people_do():
    assert "among the policies;" in str(unknown_name_error("policy", "x", ["colored_noise"]))
    assert "among the config keys;" in str(unknown_name_error("config key", "x", ["seed"]))


def test_a_generator_of_names_is_read_once():
    assert "'sac'" in str(unknown_name_error("agent", "sax", (n for n in ["sac", "td3"])))


def test_a_damaged_file_is_failed_work_and_no_wrong_request():
    assert issubclass(CorruptedFileError, OperationError)
    assert not issubclass(CorruptedFileError, UsageError)
    assert not issubclass(OperationError, UsageError)


@pytest.mark.parametrize("module", ["errors", "seeding", "spaces"])
def test_the_examples_in_the_docstrings_are_true(module):
    found = doctest.testmod(importlib.import_module(f"robossl.core.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
