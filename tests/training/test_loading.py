"""robossl.load: every kind of folder becomes its object; anything else is one line."""

from __future__ import annotations

import json

import pytest
from small_report import small_report

import robossl
from robossl.evaluation.report import report_file
from robossl.training import output_dirs

SMALL = robossl.WorldModelConfig(
    latent_dim=8, encoder_hidden=(16,), dynamics_hidden=(16,), inverse_hidden=(16,)
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A stream, a model and an agent of the arm."""
    root = tmp_path_factory.mktemp("folders")
    stream = robossl.collect("robossl/Reacher-v0", "random", 3200, root / "stream", num_envs=8, threads=1)
    robossl.pretrain(stream, 3, SMALL, root / "model", threads=1, head_updates=0)
    robossl.train(
        "robossl/Reacher-v0", "sac", root / "model", steps=8, num_envs=2, threads=1, out=root / "agent"
    )
    return root


@pytest.fixture
def run(tmp_path):
    """A folder as of a run, without its training."""
    output_dirs.write_manifest(tmp_path, "run", robossl.LearnConfig(), env="robossl/Reacher-v0", seed=0)
    lines = [{"step": 10, "world_model/loss": 1.5}, {"step": 20, "agent/train/loss": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_stream_and_model_are_what_was_written(folders):
    stream, model = robossl.load(folders / "stream"), robossl.load(folders / "model")
    assert isinstance(stream, robossl.Stream)
    assert isinstance(model, robossl.WorldModel)
    assert f"8 lanes, {stream.transitions:,} steps" in repr(stream)
    assert "8 numbers -> 8 latents" in repr(model)
    assert "3 updates" in repr(model)
    for shown in (stream, model):
        assert "\n" not in repr(shown)
        assert shown._repr_html_().startswith("<table")


def test_agent_acts_in_envs_of_its_env(folders):
    agent = robossl.load(folders / "agent", num_envs=3)
    assert repr(agent) == "SacAgent(sac, robossl/Reacher-v0, 8 latents of version 1)"
    assert "learning_starts" in agent._repr_html_().replace(" ", "_")
    envs = robossl.make("robossl/Reacher-v0", num_envs=3)
    observation, _ = envs.reset(seed=0)
    assert agent.act(observation, explore=False).shape == (3, 2)
    envs.close()


def test_stream_as_dataframe_has_a_row_for_each_time_step(folders):
    stream = robossl.load(folders / "stream")
    frame = stream.to_dataframe(["action", "reward"])
    assert list(frame.columns) == ["lane", "episode", "step", "action_0", "action_1", "reward"]
    assert len(frame) == stream.rows
    assert len(stream.to_dataframe("reward", limit=50)) == 50
    with pytest.raises(robossl.UsageError, match="limit: expected 1 or more, got 0"):
        stream.to_dataframe(limit=0)


def test_unfinished_run_has_metrics_and_no_report(run):
    loaded = robossl.load(run)
    assert repr(loaded) == f"Run(robossl/Reacher-v0, not finished, {run})"
    assert loaded.config == robossl.LearnConfig()
    assert loaded.to_dataframe()["world_model/loss"].tolist()[0] == 1.5
    assert "1.5" in loaded._repr_html_()
    with pytest.raises(robossl.UsageError, match="robossl learn --resume"):
        _ = loaded.report


def test_finished_run_shows_its_report(run):
    report_file.write(run, small_report())
    loaded = robossl.load(run)
    assert loaded.finished
    assert loaded.report["env"] == "robossl/Reacher-v0"
    assert "inverse policy" in loaded._repr_html_()


@pytest.mark.parametrize("kind", ["evaluation", "comparison", "study", "seeds"])
def test_folder_with_a_report_becomes_the_report(kind, tmp_path):
    output_dirs.write_manifest(tmp_path, kind)
    with pytest.raises(robossl.UsageError, match=f"expected a finished {kind}"):
        robossl.load(tmp_path)
    report_file.write(tmp_path, small_report())
    assert isinstance(robossl.load(tmp_path), robossl.EvaluationReport)
    assert robossl.load(tmp_path / "report.json")["env"] == "robossl/Reacher-v0"


def test_anything_else_is_one_clear_line(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"x")
    for path, message in (
        (tmp_path / "nothing", "no folder"),
        (tmp_path / "weights.pt", "got the file"),
    ):
        with pytest.raises(robossl.UsageError, match=message) as caught:
            robossl.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "missing"), [("model", "model.safetensors"), ("stream", "stream.json")])
def test_folder_whose_content_is_missing_names_the_file(kind, missing, tmp_path):
    output_dirs.write_manifest(tmp_path, kind)
    with pytest.raises(robossl.UsageError, match=missing):
        robossl.load(tmp_path)
