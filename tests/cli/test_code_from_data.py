"""Data never chooses code: a name in a file imports no module, and no git configuration starts a program."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from cli_runner import fail, robossl, succeed

from robossl import registry
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.io import write_json
from robossl.core.small_files import CHECKSUM_KEY
from robossl.streams import Stream

ENV = "robossl/CartPoleSwingUp-v0"
MODULE = "evil_helpers"
NAME = f"{MODULE}:{ENV}"
SMALL = [
    "--world_model.latent_dim", "4", "--world_model.encoder_hidden", "8", "--world_model.dynamics_hidden", "8",
    "--world_model.inverse_hidden", "8", "--world_model.decoder_hidden", "8", "--world_model.ensemble_size", "2",
    "--world_model.batch_size", "8", "--threads", "1", "--quiet",
]  # fmt: skip


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    """A folder with a stream, a model, a run and an agent."""
    folder = tmp_path_factory.mktemp("artifacts")
    succeed(folder, "collect", ENV, "--steps", "3000", "--num-envs", "8", "--quiet", "--out", "stream")
    succeed(folder, "pretrain", "stream", "--updates", "2", "--out", "model", *SMALL)
    evaluation = [
        "--goals.trials",
        "0",
        "--goals.control",
        "False",
        "--goals.head_updates",
        "0",
        "--evaluate.videos",
        "False",
        "--agent.num_iterations",
        "0",
    ]
    succeed(folder, "learn", ENV, "--steps", "3000", "--updates", "2", *evaluation, "--out", "run", *SMALL)
    return folder


@pytest.fixture
def gift(artifacts, tmp_path, monkeypatch) -> Path:
    """A copy of the artifacts in which every file names the env `evil_helpers:...`, beside a module of that name."""
    folder = tmp_path / "gift"
    shutil.copytree(artifacts, folder)
    for path in [*folder.rglob("*.json"), *folder.rglob("*.toml")]:
        path.write_text(re.sub(rf'"{re.escape(ENV)}"', f'"{NAME}"', path.read_text()))
        if path.suffix == ".json" and CHECKSUM_KEY in (content := json.loads(path.read_text())):
            content.pop(CHECKSUM_KEY)
            write_json(path, content, checksum=True)
    (folder / f"{MODULE}.py").write_text(
        f"import pathlib; pathlib.Path({str(tmp_path / 'RAN')!r}).write_text('x')\n"
    )
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield folder
    sys.modules.pop(MODULE, None)


COMMANDS = {
    "evaluate a model": [
        "evaluate",
        "model",
        "--stream",
        "stream",
        "--no-videos",
        "--goal-trials",
        "1",
        "--quiet",
    ],
    "evaluate a run": ["evaluate", "run", "--no-videos", "--quiet"],
    "play a run": ["play", "run", "--video", "x.mp4"],
    "imagine": ["imagine", "model", "--stream", "stream", "--video", "x.mp4"],
    "resume": ["learn", "--resume", "run", "--quiet"],
    "learn --config": ["learn", "--config", "run/config.toml", "--quiet"],
    "policy of a run": ["collect", NAME.split(":")[1], "--policy", "run", "--quiet", "--out", "o"],
    "pretrain": ["pretrain", "stream", "--updates", "1", "--out", "o", *SMALL],
    "stream info": ["stream", "info", "stream"],
    "stream validate": ["stream", "validate", "stream"],
    "report": ["report", "run"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_name_in_a_file_imports_no_module(command, gift, tmp_path) -> None:
    finished = robossl(gift, *command)
    assert not (tmp_path / "RAN").exists()
    assert MODULE not in sys.modules
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("key", ["evaluate a run", "imagine", "resume", "learn --config", "play a run"])
def test_refusal_names_the_flag_in_one_line(key, gift) -> None:
    assert f"--trust-env {NAME}" in fail(gift, *COMMANDS[key])


def test_env_that_the_command_line_names_is_imported(gift, tmp_path) -> None:
    assert str(gift) not in sys.path
    succeed(gift, *COMMANDS["resume"], "--trust-env", NAME, "--accept-changes")  # the env is another one
    assert (tmp_path / "RAN").exists()
    (tmp_path / "RAN").unlink()
    del sys.modules[MODULE]
    succeed(gift, "collect", NAME, "--steps", "16", "--quiet", "--out", "typed")
    assert (tmp_path / "RAN").exists()


def test_config_file_with_the_env_on_the_command_line_is_accepted(gift) -> None:
    options = ("--config", "run/config.toml", "--steps", "3000", "--quiet", "--out", "again")
    succeed(gift, "learn", ENV, *options)


@pytest.mark.parametrize(
    "name", ["missing_module:A-v0", "os.path.nothing:A-v0", ":A-v0", "a:b:c", "..x:A-v0"]
)
def test_recorded_name_without_an_imported_package_is_refused(name) -> None:
    before = set(sys.modules)
    with pytest.raises(UsageError, match="--trust-env"):
        registry.check_recorded_env(name, "stream.json")
    with pytest.raises(UsageError, match="--trust-env"):
        registry.make_envs(name, 1)
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", [None, 5, [], {}, "", "a\nb", "\x1b[31mA-v0", "x" * 5000, True])
def test_recorded_name_that_is_no_name_is_damage(name) -> None:
    with pytest.raises(CorruptedFileError) as refusal:
        registry.check_recorded_env(name, "stream.json")
    assert str(refusal.value).isprintable()


def test_working_folder_is_on_the_import_path_only_for_a_typed_package(tmp_path, monkeypatch) -> None:
    """An optional package that is not installed is not taken from a folder with data."""
    paths: list[list[str]] = []
    monkeypatch.setattr("robossl.registry.env_spec", lambda env: paths.append(list(sys.path)) or fail_here())
    for env in ("CartPole-v1", "gymnasium:CartPole-v1"):
        robossl(tmp_path, "collect", env, "--out", "o")
    assert [str(tmp_path) in path for path in paths] == [False, True]


def fail_here() -> None:
    raise UsageError("stop here")


def test_second_process_deletes_nothing_of_a_stream_that_is_being_written(artifacts, tmp_path) -> None:
    """`learn --resume` of a run that still explores is refused before the stream is removed."""
    shutil.copytree(artifacts / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")  # as before the first checkpoint
    with Stream.open(tmp_path / "run/stream") as stream:
        stream.acquire()
        before = sorted(p.name for p in stream.path.iterdir())
        assert "already has a writer" in fail(tmp_path, "learn", "--resume", "run", "--quiet")
        assert sorted(p.name for p in stream.path.iterdir()) == before
