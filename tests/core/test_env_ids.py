"""Names of envs: every part comes back, and what is no name is refused in one line."""

import pytest

from robossl.core.env_ids import (
    EnvName,
    canonical_id,
    display_name,
    is_robot_file,
    parse_wrapper,
    read_value,
    with_options,
)
from robossl.core.errors import UsageError

VALUES = (
    6,
    -1.5,
    True,
    None,
    "push",
    "6",
    "true",
    "a b&c=%?",
    "größe",
    [1, [2.0]],
    {"cars": 3, "x": {"y": [0]}},
    "",
)


@pytest.mark.parametrize("base", ["CartPole-v1", "kinds:kinds/Push-v0", "my_env:make", "robots/my arm.xml"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_arguments_come_back_from_the_name(base, value) -> None:
    name = with_options(base, {"first": value, "size": 3})
    assert name.isprintable()
    assert EnvName.parse(name).base == base
    assert EnvName.parse(name).arguments == {"first": value, "size": 3}
    assert str(EnvName.parse(name)) == name


def test_options_come_back_and_later_ones_replace_earlier_ones() -> None:
    wrapper = "gymnasium.wrappers:TimeLimit?max_episode_steps=30&x=a b"
    name = with_options("A-v0", {"config.cars": 2}, [wrapper], ["state", "arm.q"], "solved", ["cost"])
    found = EnvName.parse(name)
    assert parse_wrapper(found.wrap[0]) == (
        "gymnasium.wrappers:TimeLimit",
        {"max_episode_steps": 30, "x": "a b"},
    )
    assert (found.observe, found.success, found.info) == (("state", "arm.q"), "solved", ("cost",))
    again = EnvName.parse(with_options(name, {"config.speed": 1}, ["m:W"], ["state"]))
    assert again.arguments == {"config": {"cars": 2, "speed": 1}}
    assert again.wrap == (*found.wrap, "m:W")
    assert (again.observe, again.success) == (("state",), "solved")


def test_a_plain_id_and_a_plain_path_stay_as_they_are(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CartPole-v1", "kinds:kinds/A-v0", "/robots/arm.xml"):
        assert canonical_id(name) == name
    shown = [display_name(name) for name in ("CartPole-v1", "kinds:kinds/A-v0", "/robots/arm.xml")]
    assert shown == ["CartPole-v1", "kinds/A-v0", "arm.xml"]
    assert canonical_id("arm.xml?camera=side") == f"{tmp_path}/arm.xml?camera=side"
    assert not is_robot_file("A-v0?model=arm.xml")
    (tmp_path / "what?.xml").touch()
    assert EnvName.parse("what?.xml").base == "what?.xml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("A-v0?size", "expected KEY=VALUE"),
        ("A-v0?=3", "expected KEY=VALUE"),
        ("A-v0?+wrapper=m:W", r"unknown option \+wrapper; available: \+wrap"),
    ],
)
def test_what_is_no_name_is_refused(name, message) -> None:
    with pytest.raises(UsageError, match=message):
        EnvName.parse(name)


@pytest.mark.parametrize("wrapper", ["TimeLimit", ":W", "m:", "m"])
def test_a_wrapper_without_a_module_is_refused(wrapper) -> None:
    with pytest.raises(UsageError, match="module:Wrapper"):
        with_options("A-v0", wrap=[wrapper])


def test_an_argument_that_is_a_value_and_a_table_is_refused() -> None:
    with pytest.raises(UsageError, match="a value and a table"):
        with_options("A-v0?config=3", {"config.cars": 2})


def test_values_are_json_or_words_of_python_or_text() -> None:
    assert [read_value(t) for t in ("3", "3e-4", "true", "True", "None", "null", "[1,2]", "go")] == [
        3, 3e-4, True, True, None, None, [1, 2], "go",
    ]  # fmt: skip
