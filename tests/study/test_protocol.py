"""The committed protocol names what exists, and its hash covers all that decides a result."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from robossl import registry
from robossl.core.errors import UsageError
from robossl.study.jobs import check_rows
from robossl.study.protocol import Protocol, load_protocol, override, reference_returns
from robossl.training.agent_settings import check_settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "environments.md"
PROTOCOL = load_protocol()
QUICK = PROTOCOL.budget("quick").sizes


def test_every_built_in_task_belongs_to_a_robot() -> None:
    listed = [task for tasks in PROTOCOL.robots.values() for task in tasks]
    mjcf, arm_lift = (
        "robossl/Mjcf-v0",
        "robossl/ArmLift-v0",
    )  # without reward; observes an array, not a dict with goals
    assert sorted([*listed, mjcf, arm_lift]) == sorted(
        t for t in registry.env_ids() if t.startswith("robossl/")
    )


def test_references_are_those_of_the_page() -> None:
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == 8 and re.match(r"\d", parts[3]):
            random, reference = (float(parts[column].split()[0]) for column in (3, 4))
            found[f"robossl/{parts[1]}-v0"] = {"random": random, "reference": reference}
    assert reference_returns() == found


def test_every_task_has_a_reference_above_random_actions() -> None:
    for tasks in PROTOCOL.robots.values():
        for task in tasks:
            assert reference_returns()[task]["reference"] > reference_returns()[task]["random"]


@pytest.mark.parametrize(
    "name", [name for name, row in PROTOCOL.rows.items() if row.agent not in (None, "auto")]
)
def test_agents_have_the_settings_of_the_rows(name: str) -> None:
    row = PROTOCOL.row(name)
    settings = PROTOCOL.agent_settings(row, str(row.agent), QUICK)
    encoder = settings.pop("encoder", "none")
    check_settings(str(row.agent), settings, encoder)


def test_rows_name_existing_rows_policies_and_representations() -> None:
    for row in PROTOCOL.rows.values():
        assert row.baseline in PROTOCOL.rows
        assert row.representation is None or row.representation in PROTOCOL.representations
        assert row.policy is None or row.policy in registry.names("policies")
    for budget in PROTOCOL.budgets.values():
        assert check_rows(PROTOCOL, budget.rows) == budget.rows


def test_hash_changes_with_sizes_stream_task_and_images() -> None:
    def digest(sizes=QUICK, task="a", pixels=0) -> str:
        return PROTOCOL.hash(sizes, task, pixels)

    others = [
        dataclasses.replace(QUICK, **{entry.name: value})
        for entry in dataclasses.fields(QUICK)
        for value in [
            (7,) if entry.name == "goal_horizons" else {"x": 1} if entry.name == "world_model" else 12345
        ]
    ]
    hashes = [digest(), digest(task="b"), digest(pixels=64), *map(digest, others)]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    "table", ["rows", "representations", "agents", "stream", "training", "curve", "version"]
)
def test_hash_changes_with_each_table_of_the_file(table: str) -> None:
    content = dict(PROTOCOL.content)
    content[table] = (
        content[table] + 1 if table == "version" else {**content[table], "added": {"kind": "policy"}}
    )
    assert Protocol(content).hash(QUICK, "a", 0) != PROTOCOL.hash(QUICK, "a", 0)


def test_hash_does_not_depend_on_the_order_of_the_file() -> None:
    content = {
        name: dict(reversed(v.items())) if isinstance(v, dict) else v for name, v in PROTOCOL.content.items()
    }
    assert Protocol(content).hash(QUICK, "a", 0) == PROTOCOL.hash(QUICK, "a", 0)


def test_sizes_are_inserted_into_the_settings_of_an_agent() -> None:
    settings = PROTOCOL.agent_settings(
        PROTOCOL.row("observation"), "offline-td3", override(QUICK, {"hidden": 9})
    )
    assert settings["policy_kwargs"] == {"net_arch": [9, 9]}


def test_last_point_of_a_curve_is_the_end() -> None:
    for count in (1, 2, 999, 10_000):
        for points in (PROTOCOL.offline_points(count), PROTOCOL.online_points(count)):
            assert points[-1] == count
            assert points == sorted(set(points))
            assert points[0] >= 1


@pytest.mark.parametrize("values", [{"hidden": 0}, {"episodes": 1.5}, {"hiden": 3}, {"goal_trials": -1}])
def test_invalid_sizes_raise_usage_errors(values: dict) -> None:
    with pytest.raises(UsageError):
        override(QUICK, values)


@pytest.mark.parametrize(("kind", "name"), [("row", "latents"), ("budget", "quik")])
def test_unknown_names_raise_usage_errors_with_similar_names(kind: str, name: str) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        getattr(PROTOCOL, kind)(name)


@pytest.mark.parametrize(
    ("row", "rows", "baseline"),
    [
        ("latent", ("observation", "normalized_observation", "latent"), "normalized_observation"),
        ("latent", ("observation", "latent"), "observation"),
        ("time_shuffled", ("observation", "random_latent", "normalized_observation"), "random_latent"),
        ("time_shuffled", ("observation", "normalized_observation"), "normalized_observation"),
        ("normalized_observation", ("observation", "normalized_observation"), "observation"),
        ("latent_online", ("observation", "latent_online"), "observation_online"),
        ("observation", ("observation",), "observation"),
    ],
)
def test_row_is_compared_with_its_baseline_or_where_that_is_missing_with_the_baseline_of_it(
    row, rows, baseline
) -> None:
    assert PROTOCOL.baseline_among(row, rows) == baseline
