"""A third-party package joins every registry group through entry points, and `robossl learn` uses all it offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "thirdparty_package"
NAMES = {
    "agents": "acme_reinforce",
    "policies": "acme_sine",
    "objectives": "acme_slowness",
    "report_sections": "acme_action_statistics",
    "metric_sinks": "acme_csv",
}


def run_robossl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder where the package is installed."""
    return subprocess.run(
        [sys.executable, "-m", "robossl.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Folder of a finished run that uses everything of the package."""
    folder = tmp_path_factory.mktemp("acme")
    sizes = dict.fromkeys(("encoder_hidden", "dynamics_hidden", "inverse_hidden", "decoder_hidden"), "16")
    settings = {
        "explore.policy": NAMES["policies"], "explore.num_envs": "8",
        "pretrain.updates": "40", "pretrain.updates_per_iteration": "10",
        "world_model.objectives": f"forward,inverse,{NAMES['objectives']}",
        "world_model.latent_dim": "6", "world_model.ensemble_size": "2", "world_model.batch_size": "64",
        **{f"world_model.{name}": size for name, size in sizes.items()},
        "agent.name": NAMES["agents"], "agent.num_iterations": "2", "agent.settings.hidden": "8",
        "evaluate.episodes": "4", "evaluate.curve_episodes": "2", "evaluate.videos": "false",
    }  # fmt: skip
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    arguments = ("learn", "acme/Point-v0", "--steps", "2400", "--out", "run", "--log", NAMES["metric_sinks"])
    result = run_robossl(folder, *arguments, *flags)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "run"


def test_all_names_are_listed_without_importing_the_package() -> None:
    program = (
        "import json, sys; from robossl import registry\n"
        f"names = {{group: registry.names(group) for group in {list(NAMES)}}}\n"
        "print(json.dumps([names, sorted(m for m in sys.modules if m.startswith('acme.'))]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    names, imported = json.loads(result.stdout)
    assert all(name in names[group] for group, name in NAMES.items())
    assert imported == ["acme.env"]  # registered with Gymnasium at import


def test_the_report_has_the_agent_and_the_section(run_folder) -> None:
    report = json.loads((run_folder / "report.json").read_text())
    assert report["control"]["agent"] == NAMES["agents"]
    assert {"latent_observation", "observation"} <= set(report["control"]["rows"])
    assert report[NAMES["report_sections"]]["std"] > 0
    assert "The actions have a standard deviation of" in (run_folder / "report.html").read_text()


def test_the_metric_sink_has_the_losses_of_world_model_and_agent(run_folder) -> None:
    names = {line.split(",")[1] for line in (run_folder / "acme.csv").read_text().splitlines()}
    assert any(NAMES["objectives"] in name for name in names)
    assert any(name.endswith("policy_loss") for name in names)


def test_another_process_loads_the_trained_agent(run_folder) -> None:
    result = run_robossl(
        run_folder.parent, "collect", "acme/Point-v0", "--policy", "run", "--steps", "90", "--out", "s"
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_an_unknown_setting_of_the_agent_is_refused_before_any_work(tmp_path) -> None:
    result = run_robossl(
        tmp_path, "learn", "acme/Point-v0", "--agent.name", NAMES["agents"], "--agent.settings.hiden", "8"
    )
    assert result.returncode == 2
    assert "'hiden'" in result.stderr
    assert "discount, hidden, learning_rate" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_agent_passes_check_agent(tmp_path) -> None:
    result = run_robossl(tmp_path, "check-agent", NAMES["agents"], "--json")
    assert result.returncode == 0, result.stdout
    assert {entry["name"] for entry in json.loads(result.stdout)} >= {
        "checkpoint",
        "save and load",
        "global state",
    }


def test_the_env_passes_check(tmp_path) -> None:
    result = run_robossl(tmp_path, "check", "acme/Point-v0")
    assert result.returncode == 0, result.stdout
    assert "no problems found" in result.stdout
