"""Parts of a benchmark are measured once, and go on after any end; results of other options are refused."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import curiosity, goal_reaching
from benchmarks.parts import Part, make_once, part_runner, result_of, run_parts
from robossl.core.errors import UsageError
from robossl.core.small_files import read_json


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that `measure` of the module `toy_benchmark` was called with; seed 7 is interrupted once."""
    found: list[int] = []

    def measure(options: Namespace, seed: int) -> None:
        def run() -> dict[str, int]:
            found.append(seed)
            if seed == 7 and found.count(7) == 1:
                raise KeyboardInterrupt
            return {"seed": seed}

        result_of(options.out, str(seed), run)

    module = ModuleType("toy_benchmark")
    module.measure = measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_benchmark", module)
    return found


def run(out: Path, seeds: list[int], **more: object) -> list[dict[str, int]]:
    options = Namespace(out=out, seeds=seeds, workers=1, engine="local", **more)
    run_parts("toy_benchmark", [Part("measure", (seed,)) for seed in seeds], options, out, ("seeds",))
    return [read_json(out / "results" / f"{seed}.json") for seed in seeds]


def test_parts_run_once_and_go_on_after_an_interruption(tmp_path: Path, calls: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [0, 7, 1])
    assert run(tmp_path, [0, 7, 1]) == [{"seed": 0}, {"seed": 7}, {"seed": 1}]
    assert run(tmp_path, [1, 2])[1] == {"seed": 2}
    assert calls == [0, 7, 7, 1, 2]


def test_results_of_other_options_are_refused(tmp_path: Path, calls: list[int]) -> None:
    run(tmp_path, [0], steps=5)
    with pytest.raises(UsageError, match="has results of steps 5, got 6; give another --out"):
        run(tmp_path, [0, 1], steps=6)
    assert calls == [0]


def test_lists_of_paths_are_options_too(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a runner changes the folder
    run(tmp_path, [0], runs=[Path("a"), Path("b")])
    run(tmp_path, [0], runs=[Path("a"), Path("b")])
    with pytest.raises(UsageError, match=r"has results of runs .*give another --out"):
        run(tmp_path, [0], runs=[Path("a")])
    options = {"out": "out", "runs": ["a", "b"]}
    seen: list[list[Path]] = []
    module = sys.modules["toy_benchmark"]
    module.measure = lambda options, seed: seen.append(options.runs)  # type: ignore[attr-defined]
    settings = {"module": "toy_benchmark", "threads": 1, "working_folder": str(tmp_path)}
    job = {"function": "measure", "arguments": [0]}
    part_runner({**settings, "options": options, "paths": ["out", "runs"]})(job)
    assert seen == [[Path("a"), Path("b")]]


def test_relative_paths_of_the_options_are_those_of_the_driver(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # a worker of Ray may start in any folder
    (tmp_path / "out" / "results").mkdir(parents=True)
    settings = {"module": "toy_benchmark", "threads": 1, "working_folder": str(tmp_path)}
    run_part = part_runner({**settings, "options": {"out": "out"}, "paths": ["out"]})
    run_part(Part("measure", (3,)).to_json())
    assert (tmp_path / "out" / "results" / "3.json").is_file()


def test_returns_of_other_updates_are_not_taken_for_the_requested_ones(tmp_path: Path) -> None:
    options = Namespace(out=tmp_path, seeds=[0], updates=5, episodes=2)
    cells = [{"kind": "record", "env": "CheetahRun", "seed": 0, "policy": curiosity.CURIOUS}]
    cells.append({**cells[0], "kind": "return", "task": "CheetahRun", "updates": 5, "returns": [1.0, 2.0]})
    (tmp_path / "results").mkdir()
    for cell in cells:
        curiosity.save(options, cell)
    curiosity.returns(options, "CheetahRun", "CheetahRun")
    options.updates = 6
    with pytest.raises(UsageError, match="has updates 5, got 6; remove it, or give another --out"):
        curiosity.returns(options, "CheetahRun", "CheetahRun")


def test_results_of_other_runs_have_names_of_their_own() -> None:
    runs = [["/a"], ["/b"], []]
    assert len({goal_reaching.name_of(Namespace(runs=each), 0) for each in runs}) == 3


def test_folder_is_whole_or_missing(tmp_path: Path) -> None:
    folder = tmp_path / "stream"

    def interrupted(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(folder, interrupted)
    assert not folder.exists()
    make_once(folder, lambda path: path.mkdir())
    assert not list(make_once(folder, interrupted).iterdir())
