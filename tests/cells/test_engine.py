"""Engines run each job once, start dead workers again, and give each worker its share of the cores."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from robossl.cells import work
from robossl.cells.actors import run_actors
from robossl.cells.engine import run_jobs
from robossl.cells.processes import WorkerProcess
from robossl.cells.ray_cluster import ray_cluster
from robossl.cells.work import Resources, Work, gpu_shares, worker_environment
from robossl.core.errors import OperationError, UsageError
from robossl.core.system_info import cores

TARGET = "counting_work:runner"


@dataclass(frozen=True)
class ToyJob:
    """A job of `counting_work`."""

    name: str
    kind: str = "add"
    needs: tuple[str, ...] = ()
    cost: float = 1.0
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, **self.more}


@pytest.fixture(autouse=True)
def worker_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import the module of their work."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def run(
    folder: Path, jobs: list[ToyJob], workers: int = 1, threads: int = 1, **settings: Any
) -> dict[str, Any]:
    ended: dict[str, Any] = {}
    toys = Work(TARGET, {"folder": str(folder), "threads": threads})
    run_jobs(
        jobs, toys, Resources("local", workers, threads), lambda job, error, by_need: ended.update({job.name: error}),
        **settings,
    )  # fmt: skip
    return ended


def test_job_of_a_dead_worker_runs_again_and_others_once(tmp_path: Path) -> None:
    jobs = [
        ToyJob("killed", "kill"),
        ToyJob("next", needs=("killed",)),
        ToyJob("other"),
        ToyJob("failed", "fail"),
    ]
    ended = run(tmp_path, jobs, retries=1)
    assert ended == {"killed": None, "next": None, "other": None, "failed": "broken"}
    assert sorted((tmp_path / "done.txt").read_text().split()) == ["killed", "next", "other"]


def test_job_whose_worker_always_dies_fails(tmp_path: Path) -> None:
    ended = run(tmp_path, [ToyJob("killed", "kill", more={"always": True})], retries=1)
    assert ended == {"killed": "the worker process was ended by signal 9"}


def test_job_can_fork_as_envs_in_processes_do(tmp_path: Path) -> None:
    assert run(tmp_path, [ToyJob("forks", "fork"), ToyJob("other", "fork")], workers=2) == {
        "forks": None,
        "other": None,
    }


def test_error_of_a_job_in_a_worker_is_one_line_and_not_tried_again(tmp_path: Path) -> None:
    ended = run(tmp_path, [ToyJob("wrong", "raise"), ToyJob("other")], retries=2)
    assert ended == {"wrong": "expected another job, got this one", "other": None}
    assert (tmp_path / "raised.txt").read_text() == "wrong\n"


def test_worker_that_dies_without_a_job_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker waits for a job that needs the first one, and is killed."""
    started: list[WorkerProcess] = []
    start, send = WorkerProcess.__init__, WorkerProcess.send

    def note(self: WorkerProcess, *args: Any) -> None:
        start(self, *args)
        started.append(self)

    def kill_the_other(self: WorkerProcess, value: dict[str, Any]) -> None:
        send(self, value)
        if value.get("name") == "first":
            next(worker for worker in started if worker is not self)._process.kill()

    monkeypatch.setattr(WorkerProcess, "__init__", note)
    monkeypatch.setattr(WorkerProcess, "send", kill_the_other)
    monkeypatch.setattr(work, "cores", lambda: 2)
    assert run(tmp_path, [ToyJob("first"), ToyJob("second", needs=("first",))], workers=2) == {
        "first": None, "second": None,
    }  # fmt: skip
    assert len(started) == 2


def test_actor_that_dies_gets_its_job_again(tmp_path: Path) -> None:
    answers: list[int] = []

    def next_job(index: int, answer: dict[str, Any] | None) -> dict[str, Any] | None:
        if answer is not None:
            answers.append(answer["sum"])
        number = len(answers)
        return (
            {"name": str(number), "kind": "kill" if number == 1 else "add", "number": number}
            if number < 3
            else None
        )

    deaths: list[tuple[int, str]] = []
    works = [Work(TARGET, {"folder": str(tmp_path), "threads": 1})]
    run_actors(works, Resources(workers=1), next_job, lambda *death: deaths.append(death))
    assert answers == [1, 2, 3]
    assert deaths == [(0, "the worker process was ended by signal 9")]
    assert (tmp_path / "done.txt").read_text().split() == ["0", "1", "2"]


def test_failure_of_an_actor_ends_the_work(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="broken"):
        run_actors(
            [Work(TARGET, {"folder": str(tmp_path), "threads": 1})], Resources(workers=1),
            lambda index, answer: {"name": "a", "kind": "fail"},
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_thread_pools_of_a_worker_have_its_share_of_the_cores(tmp_path: Path, threads: int) -> None:
    if threads > cores():
        pytest.skip("one core")
    run(tmp_path, [ToyJob("count", "threads")], threads=threads)
    pools = ast.literal_eval((tmp_path / "pools.json").read_text())
    assert pools["torch"] == threads
    assert pools["blas"]
    assert max(pools["blas"]) <= threads
    # the pools of MuJoCo, torch and BLAS work one after the other; each has the calling thread and `threads - 1` more
    assert pools["used"] <= threads if threads == 1 else pools["used"] <= 1 + 3 * (threads - 1)


def test_environment_of_a_worker_limits_every_thread_pool() -> None:
    variables = worker_environment(3)
    assert {variables[name] for name in variables if "THREAD" in name} == {"3"}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} <= set(variables)


def test_gpus_are_shared_or_given_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert gpu_shares(0.5, 8) == ["4", "4", "6", "6"]
    assert gpu_shares(1, 8) == ["4", "6"]
    assert gpu_shares(2, 8) == ["4,6"]
    assert gpu_shares(0, 2) == [None, None]
    assert worker_environment(1, "4,6")["MUJOCO_EGL_DEVICE_ID"] == "4"
    assert "MUJOCO_EGL_DEVICE_ID" not in worker_environment(1, "GPU-8a56a4bc")  # MuJoCo takes an index only
    with pytest.raises(UsageError, match="at most the 2 of this machine, got 3"):
        gpu_shares(3, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engine": "rya"}, "did you mean 'ray'"),
        ({"workers": -1}, "workers: expected 0 or more"),
        ({"workers": cores() + 1}, f"at most {cores()} threads in all"),
        ({"threads": 0}, "1 or more, got 0"),
        ({"gpus": 1.5}, "got 1.5"),
        ({"gpus": -1.0}, "got -1.0"),
        ({"gpus": float("inf")}, "got inf"),
        ({"gpus": float("nan")}, "got nan"),
    ],
)
def test_wrong_resources_get_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        Resources(**values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ray_of_this_machine_has_no_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, started = ModuleType("ray"), {}
    ray.__spec__ = ModuleSpec("ray", None)
    functions = {
        "is_initialized": lambda: False, "init": lambda **options: started.update(options), "shutdown": lambda: None,
        "nodes": lambda: [{"Alive": True, "Resources": {"CPU": started["num_cpus"]}}],
    }  # fmt: skip
    for name, function in functions.items():
        monkeypatch.setattr(ray, name, function, raising=False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(os, "environ", {})
    words = f"workers: expected at most {cores()} threads in all"
    with pytest.raises(UsageError, match=words), ray_cluster(Resources("ray", cores() + 1)):
        pytest.fail("it began")
    with ray_cluster(Resources("ray", cores())):
        assert started["num_cpus"] == cores()
        assert started["address"] == "local"  # not another one that runs on this machine


def test_missing_ray_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "robossl\[ray\]"'):
        Resources("ray")
