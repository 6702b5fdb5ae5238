"""Minari datasets: each episode is an `EpisodeBuffer` in HDF5; images are lossless."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.core.io import read_json
from robossl.streams.formats.episode_data import (
    EpisodeData,
    EpisodeReader,
    Rows,
    all_finite,
    build_episode,
    create_stream_like,
    exported_name,
    exported_schema,
)
from robossl.streams.formats.hostile import check_folder, check_hdf5
from robossl.streams.formats.labels import frames_per_second, robot_name, task_name
from robossl.streams.schema import Schema, observation_name
from robossl.streams.stream import Stream

_HEADER_KEY = "robossl"  # metadata key of the stream header
_BATCH_BYTES = 64 << 20  # [bytes] of episodes per write
_INFO_ROLES = ("state", "physics", "info")  # roles stored in infos


def write(stream: Stream, folder: Path, images: str, progress: ProgressReporter) -> dict[str, Any]:
    """Write a dataset that `minari.MinariDataset(folder / "data")` reads."""
    import minari
    from minari.dataset.minari_storage import MinariStorage

    episodes = EpisodeReader(stream)
    spec, reason = _spec(stream.header)
    storage = MinariStorage.new(
        folder / "data",
        episodes.schema.observation_space,
        stream.action_space,
        spec,
        data_format="hdf5",
        jpeg_encoding=False,
    )
    progress.start("export", len(episodes.episodes), "episodes")
    episode_metadata, pending = [], []
    for episode in episodes:
        pending.append(_buffer(episodes.schema, episode))
        episode_metadata.append({"lane": episode.lane, "ordinal": episode.ordinal})
        if sum(map(len, pending)) * stream.schema.row_bytes > _BATCH_BYTES:
            storage.update_episodes(pending)
            pending = []
        progress.update(1)
    storage.update_episodes(pending)
    storage.update_episode_metadata(episode_metadata)
    progress.stop()
    storage.update_metadata(
        {
            "dataset_id": dataset_id(folder.name),
            "minari_version": minari.__version__,
            "algorithm_name": str(stream.header.get("policy") or "unknown"),
            "description": f"Exported from a robossl stream of {task_name(stream.header)}.",
            "task": task_name(stream.header),
            "robot": robot_name(stream.header),
            "fps": frames_per_second(stream.header),  # steps per second; None if unknown
            "step_seconds": stream.header.get("step_seconds"),
            _HEADER_KEY: {**stream.header, "lost_chunks": []},
        }
    )
    losses = [*episodes.losses(), *filter(None, [reason])]
    return {"episodes": len(episode_metadata), "rows": episodes.rows, "losses": losses}


def dataset_id(name: str) -> str:
    """Return a valid Minari dataset id: a name and a version."""
    valid_name = re.sub(r"[^-\w]+", "-", name).strip("-") or "stream"
    return valid_name if re.fullmatch(r"[-\w]+-v\d+", valid_name) else f"{valid_name}-v0"


def _spec(header: Mapping[str, Any]) -> tuple[gym.envs.registration.EnvSpec | None, str]:
    """Return the spec of the recorded env, with its arguments, and why there is none."""
    try:
        spec = copy.deepcopy(gym.spec(str(header.get("env"))))
        kwargs = header.get("env_kwargs")
        spec.kwargs.update(kwargs if isinstance(kwargs, dict) else {})
        spec.to_json()
    except gym.error.Error:
        return None, ""  # not registered in this process
    except Exception as error:  # noqa: BLE001 - specs of third parties hold anything
        return (
            None,
            f"the spec of the env cannot be serialized ({type(error).__name__}): the dataset has none",
        )
    return spec, ""


def _buffer(schema: Schema, episode: EpisodeData) -> Any:
    from minari.data_collector import EpisodeBuffer

    rows = episode.rows
    infos = {field.name: rows[field.name] for field in schema.fields if field.role in _INFO_ROLES}
    return EpisodeBuffer(
        observations=schema.join_observation(rows),
        actions=rows["action"][:-1],
        rewards=rows["reward"][:-1],
        terminations=rows["terminated"][:-1],
        truncations=rows["truncated"][:-1],
        infos={**infos, "valid": rows["valid"]},
    )


def read(source: str | Path, folder: Path, progress: ProgressReporter) -> dict[str, Any]:
    """Read a dataset into a new stream in `folder`."""
    dataset = _open(source)
    header = dataset.storage.metadata.get(_HEADER_KEY)
    thirdparty = header is None
    if thirdparty:
        entry = {"env": dataset.env_spec.id} if dataset.env_spec is not None else {}
        name = dataset.spec.dataset_id
        schema = Schema.from_spaces(dataset.observation_space, dataset.action_space)
        stream = Stream.create(folder, schema, 1, **entry, policy=f"minari {name}", seed=None)
    else:
        stream = create_stream_like(folder, header)
    losses = _losses(dataset) if thirdparty else []
    progress.start("import", len(dataset), "episodes")
    metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for episode, entry in zip(dataset, metadata):
        rows = _rows(stream.schema, episode, thirdparty)
        stream.extend(rows, 0 if thirdparty else int(entry["lane"]))
        progress.update(1)
    progress.stop()
    stream.close()
    return {"episodes": len(dataset), "rows": stream.rows, "losses": losses}


def _open(source: str | Path) -> Any:
    """Return the dataset in a folder, or the local Minari dataset of that name."""
    import minari

    path = Path(source)
    folders = [folder for folder in (path, path / "data") if os.path.lexists(folder / "metadata.json")]
    try:
        if folders:
            _check_files(folders[0])
            return minari.MinariDataset(folders[0])
        local = Path(minari.storage.get_dataset_path(str(source))) / "data"
        if local.is_dir():
            _check_files(local)
        return minari.load_dataset(str(source))
    except (FileNotFoundError, ValueError, AttributeError) as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({str(error).splitlines()[0]})"
        raise UsageError(
            f"no Minari dataset in {source}{reason}; "
            "expected a folder with data/metadata.json, or a name from `minari list local`"
        ) from error
    except (OSError, KeyError, AssertionError) as error:
        raise CorruptedFileError(f"the Minari dataset in {source} is damaged: {error}") from error


def _check_files(folder: Path) -> None:
    """Check the files of a dataset before Minari reads them."""
    check_folder(folder)
    read_json(folder / "metadata.json")
    for path in sorted(folder.rglob("*.hdf5")):
        check_hdf5(path)


def _rows(schema: Schema, episode: Any, thirdparty: bool) -> Rows:
    """Return the rows of an episode; raise UsageError if it does not fit the schema."""
    stored = schema if thirdparty else exported_schema(schema)
    parts = spaces.flatten_by_path(stored.observation_space, episode.observations)
    names = dict(zip(stored.names, schema.names))
    observations = {names[observation_name(path)]: value for path, value in parts.items()}
    info_names = [] if thirdparty else [*_info_names(schema), "valid"]
    info_fields = {name: episode.infos[exported_name(name)] for name in info_names}
    outcomes = {
        "reward": episode.rewards,
        "terminated": episode.terminations,
        "truncated": episode.truncations,
    }
    lengths = {len(value) for value in (*observations.values(), *info_fields.values())}
    if lengths != {len(episode.rewards) + 1}:
        raise UsageError(
            f"expected {len(episode.rewards) + 1} observations in episode {episode.id}, one more than steps; "
            f"got {sorted(lengths)}"
        )
    rows = build_episode(schema, observations, np.asarray(episode.actions), outcomes, info_fields)
    if thirdparty and not all_finite(rows):
        raise UsageError(f"episode {episode.id} has non-finite numbers")
    return rows


def _info_names(schema: Schema) -> list[str]:
    return [field.name for field in schema.fields if field.role in _INFO_ROLES]


def _losses(dataset: Any) -> list[str]:
    """Return what a stream does not keep of a third-party dataset, as text."""
    first = dataset[0]
    messages = []
    if np.asarray(first.rewards).dtype != np.float32:
        messages.append(f"rewards are {np.asarray(first.rewards).dtype}; a stream keeps float32")
    if np.asarray(first.actions).dtype == np.float64:
        messages.append("actions are float64; a stream keeps float32")
    if first.infos:
        messages.append(f"infos are omitted: {', '.join(sorted(first.infos))}")
    return messages
