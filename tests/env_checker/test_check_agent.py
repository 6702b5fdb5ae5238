"""`check_agent` passes for agents that keep the protocol, and every fault fails its own check."""

from __future__ import annotations

import json

import faulty_agents
import pytest

from robossl import registry
from robossl.cli.main import run
from robossl.core.errors import UsageError
from robossl.env_checker.check_agent import check_agent
from robossl.env_checker.check_result import CheckResult, any_failed, format_result

_FAULTS = (  # agent, the check that fails, part of its message, part of its fix
    ("RefusesAllEnvs", "construction", "needs a camera", "make(envs"),
    ("RaisesInConstructor", "construction", "raised KeyError: 'camera' at", "that line"),
    ("NoSave", "interface", "has no save", "def save"),
    ("LearnWithoutLogger", "interface", "envs, steps, progress", "logger=None"),
    ("AcceptsAllSettings", "unknown settings", "it is accepted", "UsageError"),
    ("Float64Actions", "actions", "float64, expected float32", "astype(space.dtype)"),
    ("ActionsOutOfBounds", "actions", "which is not in Box", "np.clip"),
    ("OneAction", "actions", "returns shape (2,), expected (3, 2)", "one action"),
    ("MutatesObservations", "observations not mutated", "act wrote into observation", "copy"),
    ("ResetsAllEpisodes", "episode reset", "not in the mask", "[mask]"),
    ("MutatesMask", "episode reset", "wrote into its mask", "copy"),
    ("ForgetsExtraSteps", "steps of learn", "2 steps in all, the envs have taken 6", "StepLoop"),
    ("TakesHalfOfTheSteps", "steps of learn", "1 steps in all, the envs have taken 0", "StepLoop"),
    ("NoProgress", "steps of learn", "updated with 0 of", "progress.update"),
    ("LogsStrings", "metrics", "'good'", "float(loss)"),
    ("UnseededRandom", "deterministic given seed", "differ at action 0", "default_rng(seed)"),
    ("GlobalRandom", "global state", "generator of NumPy", "default_rng(seed)"),
    ("LosesWeights", "save and load", "acts differently", "weights"),
    ("SavesPickle", "save and load", "weights.pkl", "save_tree"),
    ("IncompleteCheckpoint", "checkpoint", "action 0 of", "get_checkpoint"),
    ("RefusesRepresentations", "set_representation", "NotImplementedError: no encoder", "that line"),
    ("KeepsEpisodes", "reset_envs", "raised", "StepLoop"),
)
_ALSO = {"UnseededRandom": {"checkpoint"}}  # other checks that the same fault fails


@pytest.fixture
def results_of(monkeypatch):
    """Results of an agent of `faulty_agents`, by name of the check."""

    def check(name: str) -> dict[str, CheckResult]:
        monkeypatch.setattr(registry, "_added", {("agents", "tested"): getattr(faulty_agents, name)})
        return {result.name: result for result in check_agent("tested", steps=60)}

    return check


def test_an_agent_without_faults_passes_all_checks(results_of) -> None:
    results = results_of("GoodAgent")
    assert [name for name, result in results.items() if not result.ok] == []
    assert "continuous actions, discrete actions, goals" in results["construction"].message
    assert "learn takes exactly the requested steps" in results["steps of learn"].message


@pytest.mark.parametrize(("name", "check", "message", "fix"), _FAULTS)
def test_a_fault_fails_its_check_and_no_other(results_of, name, check, message, fix) -> None:
    results = results_of(name)
    failed = {n for n, result in results.items() if result.ok is False}
    assert failed == {check, *_ALSO.get(name, ())}
    assert message in results[check].message
    assert fix in results[check].fix
    assert results[check].reason


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sac", {}),
        ("dqn", {}),
        ("ppo", {"n_steps": 32, "batch_size": 16}),
        ("planner", {"samples": 8, "elites": 2}),
    ],
)
def test_built_in_agents_pass(name, settings) -> None:
    steps = 520 if name in ("sac", "dqn") else 60  # beyond the first gradient step
    results = check_agent(name, steps, **settings)
    assert not any_failed(results), [line for r in results if r.ok is False for line in format_result(r)]
    assert {"checkpoint", "save and load"} <= {result.name for result in results}


def test_an_unknown_agent_or_setting_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'sac'"):
        check_agent("sca")
    with pytest.raises(UsageError, match="did you mean 'learning_starts'"):
        check_agent("sac", lerning_starts=3)


@pytest.mark.parametrize(("name", "code"), [("GoodAgent", 0), ("NoSave", 1)])
def test_the_command_line_reports_the_results(name, code, monkeypatch, capsys) -> None:
    monkeypatch.setattr(registry, "_added", {("agents", "tested"): getattr(faulty_agents, name)})
    arguments = ["check-agent", "tested", "--agent.settings.learning_rate", "0.2"]
    if name == "NoSave":
        assert run([*arguments, "--json"]) == code
        results = json.loads(capsys.readouterr().out)
        assert [r["name"] for r in results if r["ok"] is False] == ["interface"]
    else:
        assert run(arguments) == code
        assert capsys.readouterr().out.strip().endswith("no problems found")
