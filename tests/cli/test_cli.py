"""The command line as a newcomer meets it: help everywhere, one line for every mistake."""

from __future__ import annotations

import pytest
from cli_runner import robossl, wrong

from robossl.cli.main import VERBS


def test_help_names_every_verb(run_cli):
    found = run_cli("--help")
    assert found.returncode == 0
    assert all(verb.name in found.stdout for verb in VERBS)


def test_a_mistake_ends_the_process_with_code_2(run_cli):
    found = run_cli("lern")
    assert (found.returncode, found.stdout) == (2, "")
    assert "did you mean 'learn'" in found.stderr


@pytest.mark.parametrize("verb", [v.name for v in VERBS])
def test_help_of_every_verb_shows_an_example(verb, tmp_path):
    found = robossl(tmp_path, *verb.split(), "--help")
    assert found.code == 0, found.stderr
    assert f"robossl {verb}" in found.stdout.split("example:")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lern"], "did you mean 'learn'"),
        (["learn", "robossl/Reecher-v0"], "did you mean 'robossl/Reacher-v0'"),
        (["learn", "--steps", "-5"], "steps"),
        (["learn", "--wrold_model.latent_dim", "3"], "did you mean 'world_model.latent_dim'"),
        (["learn", "--resume", "nowhere"], "no folder nowhere"),
        (["collect", "robossl/Reacher-v0", "--policy", "colored_noize"], "did you mean 'colored_noise'"),
        (["collect", "nobody:Env-v0"], "no package 'nobody'"),
        (["collect"], "env"),
        (["pretrain", "nowhere"], "nowhere"),
        (["train", "robossl/Reacher-v0", "--agent", "sacc"], "did you mean 'sac'"),
        (["evaluate", "nowhere"], "nowhere"),
        (["play", "robossl/Reacher-v0"], "--video FILE.mp4 or --viewer"),
        (["imagine", "nowhere"], "nowhere"),
        (["stream"], "show, validate, export, import"),
        (["stream", "shaw", "x"], "did you mean 'show'"),
        (["stream", "info", "nowhere"], "nowhere"),
        (["stream", "validate", "nowhere"], "nowhere"),
        (["stream", "export", "nowhere", "--to", "minari", "--out", "x"], "no stream in nowhere"),
        (["stream", "export", "nowhere", "--to", "minari"], "--out is needed"),
        (["stream", "export", "nowhere", "--to", "zarr", "--out", "x"], "choose from 'minari', 'lerobot'"),
        (
            ["stream", "import", "nowhere", "--from", "lerobot", "--out", "x"],
            "no LeRobot data set in nowhere",
        ),
        (["report", "nowhere"], "nowhere"),
        (["check", "robossl/Reecher-v0"], "did you mean"),
        (["check", "reacher"], "did you mean 'robossl/Reacher-v0'"),
        (["learn", "my_robot.xml"], "no MJCF file my_robot.xml"),
        (["envs", "--filter", "zebra"], "zebra"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, told, tmp_path):
    assert told in wrong(tmp_path, *words)
    assert list(tmp_path.iterdir()) == []
