"""Parts of a benchmark are measured once, and go on after any end; results of other options are refused."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.parts import Part, make_once, result_of, run_parts
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


def run(out: Path, seeds: list[int], **more: int) -> list[dict[str, int]]:
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
