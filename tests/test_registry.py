"""Registry: names are listed without imports, loading is lazy, and third-party entry points join every group."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from robossl import registry
from robossl.core.errors import UsageError

LAZY = [group for group in registry.GROUPS if group != "envs"]


def install(folder: Path, module: str, source: str, entry_points: str, package: str | None = None) -> None:
    """Write a module and the metadata of an installed package that has these entry points."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{package or module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path, as site-packages is; modules imported from it are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# --- built-in names


def test_listing_names_imports_no_module_that_defines_one() -> None:
    program = (
        "import json, sys; from robossl import registry; before = set(sys.modules)\n"
        "names = {group: registry.names(group) for group in registry.GROUPS}\n"
        "print(json.dumps([names, sorted(m for m in set(sys.modules) - before if m.startswith('robossl.'))]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names, imported = json.loads(result.stdout)
    assert {"sac", "planner"} <= set(names["agents"])
    assert {"random", "zero"} <= set(names["policies"])
    assert {"forward", "inverse"} <= set(names["objectives"])
    assert "robossl/Reacher-v0" in names["envs"]
    assert set(imported) <= {"robossl.agents", "robossl.world_model"}  # the packages, to find their folders


@pytest.mark.parametrize("group", LAZY)
def test_every_listed_name_loads(group) -> None:
    assert registry.names(group)
    for name in registry.names(group):
        assert registry.load(group, name) is not None


@pytest.mark.parametrize("source", ["AGENTS = dict(a=1)", 'AGENTS = {"a": 1, **other}', "AGENTS = {name: 1}"])
def test_a_table_without_literal_names_is_an_error(source, tmp_path) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UsageError, match=r"mine\.py:1: expected AGENTS"):
        registry._literal_keys(tmp_path / "mine.py", "AGENTS")


def test_a_table_may_be_annotated_and_other_names_do_not_count(tmp_path) -> None:
    (tmp_path / "mine.py").write_text('AGENTS: dict[str, int] = {"a": 1, "b": 2}\nMY_AGENTS = {"c": 3}\n')
    assert registry._literal_keys(tmp_path / "mine.py", "AGENTS") == ["a", "b"]


@pytest.mark.parametrize(
    ("group", "name", "near"), [("agents", "sca", "sac"), ("policies", "rondom", "random")]
)
def test_an_unknown_name_lists_the_near_and_the_available_ones(group, name, near) -> None:
    with pytest.raises(UsageError) as error:
        registry.load(group, name)
    assert repr(near) in str(error.value)
    assert all(known in str(error.value) for known in registry.names(group))


def test_an_unknown_group_lists_the_groups() -> None:
    with pytest.raises(UsageError, match="'agents'"):
        registry.names("agent")


@pytest.mark.parametrize("name", ["os", "os:system", "robossl.agents.noise", "../noise", "os.path", ""])
def test_a_module_name_is_no_agent_name(name) -> None:
    with pytest.raises(UsageError):
        registry.agent(name)


# --- names that a script adds


def test_a_registered_name_is_listed_and_loaded(monkeypatch) -> None:
    monkeypatch.setattr(registry, "_added", {})
    factory = object()
    registry.register("agents", "mine", factory)
    registry.register("agents", "mine", factory)  # again, as a notebook cell does
    assert registry.agent("mine") is factory
    assert "mine" in registry.names("agents")
    assert "mine" not in registry.names("policies")


@pytest.mark.parametrize("name", ["sac", "mine"])
def test_a_taken_name_cannot_be_registered(name, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_added", {("agents", "mine"): object()})
    with pytest.raises(UsageError, match=f"{name!r}, which is taken"):
        registry.register("agents", name, object())


# --- third-party packages


@pytest.mark.parametrize("group", LAZY)
def test_an_entry_point_joins_its_group_and_is_imported_when_loaded(group, site) -> None:
    install(site, "extra", "THING = object()", f"[robossl.{group}]\nthing = extra:THING\n")
    assert "thing" in registry.names(group)
    assert "extra" not in sys.modules
    assert registry.load(group, "thing") is sys.modules["extra"].THING


def test_a_broken_entry_point_does_not_stop_the_others(site) -> None:
    entries = (
        "[robossl.report_sections]\ngood = extra:GOOD\nbroken = extra:MISSING\nabsent = no_such_module:A\n"
    )
    install(site, "extra", "GOOD = object()", entries)
    with pytest.warns(UserWarning, match="cannot be loaded") as caught:
        sections = registry.load_all("report_sections")
    assert "good" in sections
    assert not {"broken", "absent"} & set(sections)
    messages = sorted(str(w.message) for w in caught)
    assert ["absent = no_such_module:A" in messages[0], "of package extra" in messages[0]] == [True, True]
    assert "broken = extra:MISSING" in messages[1]


def test_loading_a_broken_entry_point_names_its_package(site) -> None:
    install(site, "extra", "raise RuntimeError('no\\nlicense')", "[robossl.agents]\nthing = extra:THING\n")
    with pytest.raises(UsageError, match="package extra cannot be loaded: RuntimeError: no license"):
        registry.agent("thing")


def test_an_entry_point_cannot_replace_a_built_in_name(site) -> None:
    install(site, "extra", "SAC = object()", "[robossl.agents]\nsac = extra:SAC\nplan = extra:SAC\n")
    with pytest.warns(UserWarning, match=r"sac = extra:SAC .* is ignored: its name is taken"):
        assert registry.names("agents").count("sac") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert registry.agent("sac").__module__.startswith("robossl.")


def test_of_two_packages_with_one_name_the_first_wins_and_the_other_is_named(site) -> None:
    install(site, "extra", "A = 1", "[robossl.agents]\nthing = extra:A\n")
    install(site, "other", "A = 2", "[robossl.agents]\nthing = other:A\n")
    with pytest.warns(UserWarning, match="thing = other:A"):
        assert registry.agent("thing") == 1


# --- settings


class Factory:
    """A factory with two settings."""

    def __init__(self, envs, representation=None, seed=0, device="auto", population=8, init_std=0.5) -> None:
        """Take the standard arguments and two settings."""


def test_known_settings_pass() -> None:
    registry.check_settings(Factory, {"population": 3})
    registry.check_settings(Factory, {})


@pytest.mark.parametrize("unknown", ["populaton", "seed", "envs"])
def test_an_unknown_setting_is_named_with_the_known_ones(unknown) -> None:
    with pytest.raises(
        UsageError, match=rf"cem has no setting '{unknown}';.* available: init_std, population$"
    ):
        registry.check_settings(Factory, {unknown: 3, "population": 2}, "cem")


def test_a_near_setting_is_proposed() -> None:
    with pytest.raises(UsageError, match="did you mean 'population'"):
        registry.check_settings(Factory, {"populaton": 3})


def test_a_factory_with_open_settings_checks_them_itself() -> None:
    registry.check_settings(lambda envs, **settings: None, {"anything": 1})
