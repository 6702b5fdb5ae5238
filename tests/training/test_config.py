"""Settings: defaults, then TOML, then flags; whatever is wrong is one line."""

from __future__ import annotations

import pytest

from robossl.core.errors import UsageError
from robossl.cli.config import parse_overrides
from robossl.training.config import LearnConfig
from robossl.training.config_io import flatten_fields, from_toml, parse, to_toml


def test_a_config_written_as_toml_is_read_back(tmp_path):
    config = parse(
        LearnConfig,
        (
            "here",
            {"world_model.latent_dim": 32, "agent.num_iterations": 2, "world_model.objectives": ("forward", "inverse:2"), "seed": 7},
        ),
    )
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert parse(LearnConfig, ("file", from_toml(tmp_path / "config.toml"))) == config


def test_flags_go_over_the_file():
    config = parse(
        LearnConfig, ("a.toml", {"world_model.latent_dim": 16, "steps": 5000}), ("flags", {"world_model.latent_dim": "48"})
    )
    assert (config.world_model.latent_dim, config.steps) == (48, 5000)


def test_lists_are_given_with_commas_or_spaces():
    for words in (["--world_model.objectives", "forward,inverse"], ["--world_model.objectives", "forward", "inverse"]):
        assert parse(LearnConfig, ("flags", parse_overrides(words, LearnConfig))).world_model.objectives == (
            "forward",
            "inverse",
        )


def test_yes_and_no_are_read_as_toml_and_python_write_them():
    for word, said in (("false", False), ("False", False), ("true", True), ("True", True)):
        given = parse_overrides(["--world_model.linear_skip", word], LearnConfig)
        assert parse(LearnConfig, ("flags", given)).world_model.linear_skip is said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"world_model.latnet_dim": 3}, "did you mean 'world_model.latent_dim'"),
        ({"world_model.latent_dim": "x"}, "world_model.latent_dim is 'x'; expected int"),
        ({"world_model.latent_dim": -3}, "world_model.latent_dim is -3"),
        ({"steps": -4}, "steps is -4; expected 1 or more"),
        ({"evaluate.videos": "maybe"}, "expected bool"),
        ({"explore.fraction": 2.0}, "explore.fraction is 2.0"),
    ],
)
def test_a_wrong_setting_is_one_line(given, told):
    with pytest.raises(UsageError) as error:
        parse(LearnConfig, ("a.toml", given))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--wrold_model.latent_dim", "3"], "did you mean 'world_model.latent_dim'"),
        (["--world_model.latent_dim"], "has no value"),
        (["stray"], "one word too many"),
    ],
)
def test_a_wrong_flag_is_one_line(words, told):
    with pytest.raises(UsageError, match=told):
        parse_overrides(words, LearnConfig)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match=r"broken\.toml is not TOML"):
        from_toml(tmp_path / "broken.toml")
    with pytest.raises(UsageError, match="no config file"):
        from_toml(tmp_path / "absent.toml")


def test_every_key_has_a_default():
    assert all(default is not None for _, default in flatten_fields(LearnConfig).values())


def test_steps_are_shared_between_exploring_and_acting():
    config = LearnConfig()
    assert config.explore_steps % config.explore.num_envs == 0
    assert config.iteration_steps % config.agent.num_envs == 0
    assert config.explore_steps + config.agent.num_iterations * config.iteration_steps <= config.steps
