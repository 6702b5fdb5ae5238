"""Help of every command, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_runner import fail, robossl
from filesystem import read_only

from robossl.cli.main import COMMANDS
from robossl.core.errors import UsageError
from robossl.core.io import new_folder
from robossl.training.requests import EvaluateRequest


def test_help_lists_every_command(run_cli):
    finished = run_cli("--help")
    assert finished.returncode == 0
    assert all(command.name in finished.stdout for command in COMMANDS)


def test_mistake_exits_with_code_2(run_cli):
    finished = run_cli("lern")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "did you mean 'learn'" in finished.stderr


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_help_of_every_command_has_an_example(command, tmp_path):
    finished = robossl(tmp_path, *command.split(), "--help")
    assert finished.code == 0, finished.stderr
    assert f"robossl {command}" in finished.stdout.split("example:")[1]


def test_help_of_evaluate_states_the_default_number_of_trials(tmp_path):
    finished = robossl(tmp_path, "evaluate", "--help")
    assert f"trials at each distance ({EvaluateRequest.goal_trials})" in " ".join(finished.stdout.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["lern"], "did you mean 'learn'"),
        (["learn", "robossl/Reecher-v0"], "did you mean 'robossl/Reacher-v0'"),
        (["learn", "--wrold_model.latent_dim", "3"], "did you mean 'world_model.latent_dim'"),
        (["learn", "--resume", "nowhere"], "no folder nowhere"),
        (["learn", "--resume", "nowhere", "--steps", "unlimited"], "no folder nowhere"),
        (["collect", "--resume", "nowhere"], "no folder nowhere"),
        (["pretrain", "--resume", "nowhere"], "no folder nowhere"),
        (["train", "--resume", "nowhere"], "no folder nowhere"),
        (["evaluate", "--resume", "nowhere"], "no folder nowhere"),
        (["evaluate", "--resume", "nowhere", "--no-videos"], "began with; remove --videos"),
        (["transfer", "--resume", "nowhere"], "no folder nowhere"),
        (
            ["learn", "--resume", "nowhere", "--steps", "9", "--seed", "1"],
            "except for --steps; remove --seed",
        ),
        (["learn", "--steps", "-5"], "expected a whole number of 1 or more, +N or unlimited"),
        (["learn", "--steps", "+5"], "expected +N with --resume RUN"),
        (["learn", "--steps", "400"], "5 or more exploration steps in each of the 64 sub-environments"),
        (["learn", "--agent.rows", '["latent", "nope"]'], "no 'nope' among the agent rows"),
        (["learn", "--variation.at_step", "52000"], "expected variation.randomization with it"),
        (["collect", "robossl/Reacher-v0", "--policy", "colored_noize"], "did you mean 'colored_noise'"),
        (["collect", "no_package:Env-v0"], "no_package"),
        (["collect"], "env"),
        (["pretrain", "nowhere"], "nowhere"),
        (["learn", "--log", "tensorbord"], "did you mean 'tensorboard'"),
        (["learn", "--agent.settings.gama", "0.9"], "gamma"),
        (["train", "robossl/Reacher-v0", "--agent.settings.gama", "0.9"], "gamma"),
        (["train", "robossl/Reacher-v0", "--world_model.latent_dim", "9"], "world_model.latent_dim"),
        (["train", "robossl/Reacher-v0", "--encoder", "frozen"], "needs a world model"),
        (["train", "robossl/Reacher-v0", "--agent", "sacc"], "did you mean 'sac'"),
        (["evaluate", "nowhere"], "nowhere"),
        (["play", "robossl/Reacher-v0"], "--video FILE.mp4 or --viewer"),
        (["imagine", "nowhere"], "nowhere"),
        (["stream"], "info, validate, relabel, export, import"),
        (["stream", "inof", "x"], "did you mean 'info'"),
        (["stream", "info", "nowhere"], "nowhere"),
        (["stream", "validate", "nowhere"], "nowhere"),
        (["stream", "export", "nowhere", "--to", "minari", "--out", "x"], "no stream in nowhere"),
        (["stream", "export", "nowhere", "--to", "minari"], "--out is required"),
        (["stream", "export", "nowhere", "--to", "zarr", "--out", "x"], "choose from 'minari', 'lerobot'"),
        (
            ["stream", "import", "nowhere", "--from", "lerobot", "--out", "x"],
            "no LeRobot dataset in nowhere",
        ),
        (["report", "nowhere"], "nowhere"),
        (["check", "robossl/Reecher-v0"], "did you mean"),
        (["check", "reacher"], "did you mean 'robossl/Reacher-v0'"),
        (["learn", "my_robot.xml"], "expected an MJCF file that exists"),
        (["envs", "--filter", "zebra"], "zebra"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(args, message, tmp_path):
    assert message in fail(tmp_path, *args)
    assert list(tmp_path.iterdir()) == []


def test_mounted_folder_that_cannot_hold_the_output_is_refused_before_any_work(tmp_path):
    with read_only(tmp_path / "mounted") as folder:
        message = fail(tmp_path, "collect", "robossl/Reacher-v0", "--out", folder)
        assert message.startswith(f"robossl: cannot write in the folder {folder}")
        with pytest.raises(UsageError, match="mount point"), new_folder(folder):
            raise AssertionError("the work began")


def test_package_runs_as_the_command(tmp_path):
    command = [sys.executable, "-m", "robossl", "envs", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == robossl(tmp_path, "envs", "--json").document
