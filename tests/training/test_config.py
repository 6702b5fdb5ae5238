"""Config layers: defaults, TOML file, flags; every mistake is one line."""

from __future__ import annotations

import math

import pytest

from robossl.cli.config import parse_overrides, split_args
from robossl.core.errors import UsageError
from robossl.training.config import LearnConfig
from robossl.training.config_io import flatten_fields, from_toml, parse, to_toml


def test_toml_round_trip_keeps_config(tmp_path):
    config = parse(
        LearnConfig,
        (
            "here",
            {
                "world_model.latent_dim": 32,
                "agent.num_iterations": 2,
                "world_model.objectives": ("forward", "inverse:2"),
                "seed": 7,
            },
        ),
    )
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert parse(LearnConfig, ("file", from_toml(tmp_path / "config.toml"))) == config


def test_flags_override_the_file():
    config = parse(
        LearnConfig,
        ("a.toml", {"world_model.latent_dim": 16, "steps": 5000}),
        ("flags", {"world_model.latent_dim": "48"}),
    )
    assert (config.world_model.latent_dim, config.steps) == (48, 5000)


def test_lists_are_separated_by_commas_or_spaces_with_or_without_brackets():
    for args in (
        ["--world_model.objectives", "forward,inverse"],
        ["--world_model.objectives", "forward", "inverse"],
        ["--world_model.objectives", '["forward", "inverse"]'],
        ["--world_model.objectives", "[forward,", "inverse]"],
    ):
        assert parse(LearnConfig, ("flags", parse_overrides(args, LearnConfig))).world_model.objectives == (
            "forward",
            "inverse",
        )


def test_booleans_are_read_in_toml_and_python_spelling():
    for word, expected in (("false", False), ("False", False), ("true", True), ("True", True)):
        values = parse_overrides(["--world_model.linear_skip", word], LearnConfig)
        assert parse(LearnConfig, ("flags", values)).world_model.linear_skip is expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"world_model.latnet_dim": 3}, "did you mean 'world_model.latent_dim'"),
        ({"world_model.latent_dim": "x"}, "world_model.latent_dim: expected int, got 'x'"),
        ({"world_model.latent_dim": -3}, "world_model.latent_dim"),
        ({"steps": -4}, "steps: expected 1 or more, got -4"),
        ({"steps": "endless"}, "steps: expected int or 'unlimited', got 'endless'"),
        ({"variation.randomisation.gravity": 2}, "did you mean 'variation.randomization'"),
        ({"variation.at_step": -1}, "variation.at_step: expected 0 or more"),
        ({"evaluate.videos": "maybe"}, "expected bool"),
        ({"agent.encoder": "frosen"}, "none, random, frozen"),
        ({"agent.settings": 3}, "agent.settings: expected a table, one key for each value, got 3"),
        ({"agent.setings.gamma": 3}, "agent.setings.gamma"),
        ({"explore.fraction": 2.0}, "explore.fraction"),
    ],
)
def test_invalid_setting_is_one_line(values, message):
    with pytest.raises(UsageError) as error:
        parse(LearnConfig, ("a.toml", values))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--wrold_model.latent_dim", "3"], "did you mean 'world_model.latent_dim'"),
        (["--world_model.latent_dim"], "has no value"),
        (["stray"], "unexpected argument"),
    ],
)
def test_invalid_flag_is_one_line(args, message):
    with pytest.raises(UsageError, match=message):
        parse_overrides(args, LearnConfig)


def test_invalid_toml_file_is_named(tmp_path):
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match=r"broken\.toml is not TOML"):
        from_toml(tmp_path / "broken.toml")
    with pytest.raises(UsageError, match="no config file"):
        from_toml(tmp_path / "missing.toml")


def test_every_key_has_a_default():
    assert all(default is not None for _, default in flatten_fields(LearnConfig).values())


def test_steps_are_divided_between_exploration_and_agent():
    config = LearnConfig()
    assert config.explore_steps % config.explore.num_envs == 0
    assert config.iteration_steps % config.agent.num_envs == 0
    assert config.explore_steps + config.agent.num_iterations * config.iteration_steps <= config.steps


def test_unlimited_run_has_the_lengths_of_the_default_and_no_last_iteration():
    config = parse(LearnConfig, ("flags", {"steps": "unlimited"}))
    assert (config.explore_steps, config.iteration_steps) == (48_000, 4_000)
    assert config.unlimited
    assert config.num_iterations == math.inf
    assert parse(LearnConfig, ("flags", {"steps": "unlimited", "explore.steps": 1000})).explore_steps == 960


def test_given_length_of_an_iteration_decides_their_number():
    values = {"steps": 70_000, "explore.steps": 48_000, "agent.iteration_steps": 4_001}
    config = parse(LearnConfig, ("flags", values))
    assert (config.iteration_steps, config.num_iterations) == (4_000, 5)
    assert config.variation_iteration == math.inf
    for step, iteration in ((48_001, 1), (52_000, 1), (52_001, 2), (64_000, 4)):
        changed = parse(LearnConfig, ("flags", {**values, "variation.at_step": step}))
        assert changed.variation_iteration == iteration


def test_changed_physics_are_free_keys_with_values_of_toml(tmp_path):
    args = ["--variation.randomization.link_mass", "1.5", "--variation.randomization.gravity=[0.9, 1.1]"]
    config = parse(LearnConfig, ("flags", parse_overrides(args, LearnConfig)))
    assert config.variation.randomization == {"link_mass": 1.5, "gravity": [0.9, 1.1]}
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert parse(LearnConfig, ("file", from_toml(tmp_path / "config.toml"))) == config


def test_agent_settings_are_typed_and_nested(tmp_path):
    args = ["--agent.settings.learning_rate", "3e-4", "--agent.settings.policy_kwargs.net_arch=[64, 64]"]
    args += ["--agent.settings.name", "some text", "--agent.settings.use_sde", "true"]
    config = parse(LearnConfig, ("flags", parse_overrides(args, LearnConfig)))
    expected = {
        "learning_rate": 3e-4, "policy_kwargs": {"net_arch": [64, 64]}, "name": "some text", "use_sde": True,
    }  # fmt: skip
    assert config.agent.settings == expected
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert parse(LearnConfig, ("file", from_toml(tmp_path / "config.toml"))) == config


def test_split_args_separates_flags_of_the_command_from_settings():
    args = [
        "Reacher",
        "--seed",
        "3",
        "--world_model.objectives",
        "forward",
        "inverse",
        "--json",
        "--agent.name=sac",
    ]
    own, settings = split_args(args, {"--seed", "--json"})
    assert own == ["Reacher", "--seed", "3", "--json"]
    assert settings == ["--world_model.objectives", "forward", "inverse", "--agent.name=sac"]
