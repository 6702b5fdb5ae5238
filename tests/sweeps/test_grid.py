"""The grid of a sweep: its cells, and sweeps that are refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_sweeps import content

import robossl
from robossl.core.errors import UsageError
from robossl.sweeps import sweep_run
from robossl.sweeps.grid import Grid
from robossl.sweeps.sweep_run import SweepRequest


def test_grid_has_every_combination_once_with_names_of_their_own() -> None:
    grid = Grid(
        "learn", {"env": "robossl/Reacher-v0"}, {"seed": [0, 1, 2], "agent.encoder": ["none", "frozen"]}
    )
    cells = grid.cells()
    assert len({tuple(cell.values.values()) for cell in cells}) == len({cell.name for cell in cells}) == 6
    assert [cell.index for cell in cells] == list(range(6))
    assert all(cell.settings == {"env": "robossl/Reacher-v0", **cell.values} for cell in cells)


def test_name_of_a_cell_depends_on_its_settings_alone() -> None:
    few, many = Grid("learn", {}, {"seed": [1]}), Grid("learn", {}, {"seed": [0, 2, 1]})
    assert few.cells()[0].name == many.cells()[2].name
    assert few.cells()[0].name != Grid("learn", {"steps": 5}, {"seed": [1]}).cells()[0].name


def test_text_in_braces_is_the_value_of_the_axis() -> None:
    grid = Grid("pretrain", {"stream": "streams/{env}-{seed}"}, {"env": ["robossl/Reacher-v0"], "seed": [7]})
    assert grid.cells()[0].settings["stream"] == "streams/reacher-7"


# --- bad input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"comand": "learn"}, "no 'comand' among the keys; did you mean 'command'?"),
        ({"command": "lern"}, "no 'lern' among the commands; did you mean 'learn'?"),
        ({"command": 3}, "command: expected one of learn, pretrain"),
        ({"axes": {"seed": []}}, "axes.seed: expected at least one value, got an empty list"),
        ({"axes": {"seed": 3}}, "axes.seed: expected a list of values, got 3"),
        ({"axes": {"seed": [1, 1]}}, "axes.seed: expected different values, got 1 twice"),
        ({"axes": {}}, "at least one axis"),
        ({"axes": {"updates": [1]}}, "updates is an axis and a setting"),
        ({"axes": {"sed": [1]}}, "no 'sed' among the arguments; did you mean 'seed'"),
        ({"axes": {"world_model.latent_dm": [1]}}, "did you mean 'world_model.latent_dim'"),
        ({"axes": {"seed": [0, "one"]}}, "cell 1: seed: expected int, got 'one'"),
        ({"settings": {"stream": 3}}, "stream: expected str, got 3"),
        ({"axes": {"seed": [-1]}}, "seed: expected 0 or more, got -1"),
        ({"axes": {"threads": [2]}}, "threads: expected cpus_per_cell (1)"),
        ({"settings": {"stream": "{sed}"}}, "no '{sed}' among the references; did you mean '{seed}'?"),
        ({"settings": {}}, "expected stream in the settings or axes of the sweep, got none"),
    ],
)
def test_wrong_sweep_gets_one_line_before_anything_is_written(
    stream: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        robossl.sweep({**content(stream, axes={"seed": [0]}), **changes}, tmp_path / "sweep")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sweep").exists()


def test_job_of_an_array_checks_its_cell_alone(stream: Path) -> None:
    """A value that is wrong in another cell is that cell's."""
    source = content(stream, axes={"seed": [0, "one"]})
    sweep_run.prepare(SweepRequest(source, "sweep", cell=0))
    for cell in (1, None):
        with pytest.raises(UsageError, match="cell 1: seed: expected int, got 'one'"):
            sweep_run.prepare(SweepRequest(source, "sweep", cell=cell))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workers": "2"}, "workers: expected a number, got '2'"),
        ({"cpus_per_cell": 1.5}, "cpus_per_cell: expected a whole number, got 1.5"),
        ({"gpus_per_cell": "1"}, "GPUs of a worker: expected a number, got '1'"),
        ({"cell": "0"}, "cell: expected a number, got '0'"),
        ({"trusted": 3}, "trusted: expected names of packages, got 3"),
        ({"trusted": [3]}, "trusted: expected names of packages, got [3]"),
        ({"out": 5}, "expected a folder, got 5"),
        ({"source": [1]}, "expected a sweep file, or its content as a dict, got list"),
    ],
)
def test_argument_of_another_type_gets_one_line(
    stream: Path, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as error:
        robossl.sweep(**{"source": content(stream), "out": tmp_path / "sweep", **arguments})
    assert str(error.value) == words
    assert not (tmp_path / "sweep").exists()
