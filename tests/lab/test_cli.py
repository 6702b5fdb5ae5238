"""The command line as a newcomer meets it: help everywhere, one line for every mistake."""

from __future__ import annotations

import subprocess
import sys

import pytest

from robossl.lab.cli import VERBS


def robossl(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "robossl.lab.cli", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


def test_help_names_every_verb():
    found = robossl("--help")
    assert found.returncode == 0
    assert all(verb.name in found.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", [v.name for v in VERBS])
def test_help_of_every_verb_shows_an_example(verb):
    found = robossl(*verb.split(), "--help")
    assert found.returncode == 0, found.stderr
    assert f"robossl {verb}" in found.stdout.split("example:")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lern"], "did you mean 'learn'"),
        (["learn", "robossl/Reecher-v0"], "did you mean 'robossl/Reacher-v0'"),
        (["learn", "--steps", "-5"], "steps"),
        (["learn", "--wurld.latent", "3"], "did you mean 'world.latent'"),
        (["learn", "--resume", "nowhere"], "no folder nowhere"),
        (["collect", "robossl/Reacher-v0", "--policy", "pinc"], "did you mean 'pink'"),
        (["collect", "nobody:Env-v0"], "no package 'nobody'"),
        (["collect"], "env"),
        (["pretrain", "nowhere"], "nowhere"),
        (["train", "robossl/Reacher-v0", "--agent", "sacc"], "did you mean 'sac'"),
        (["evaluate", "nowhere"], "nowhere"),
        (["play", "robossl/Reacher-v0"], "--video FILE.mp4 or --viewer"),
        (["dream", "nowhere"], "nowhere"),
        (["stream"], "show, validate"),
        (["stream", "shaw", "x"], "did you mean 'show'"),
        (["stream", "show", "nowhere"], "nowhere"),
        (["stream", "validate", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["check", "robossl/Reecher-v0"], "did you mean"),
        (["envs", "--filter", "zebra"], "zebra"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, told, tmp_path):
    found = robossl(*words, cwd=tmp_path)
    assert found.returncode == 2, found.stderr
    assert told in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert found.stdout == ""
    assert list(tmp_path.iterdir()) == []
