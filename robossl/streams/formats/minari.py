"""Minari: every episode as an `EpisodeBuffer` in HDF5, pictures unharmed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from robossl.core import spaces
from robossl.core.errors import CorruptedFileError, UsageError
from robossl.core.interfaces import ProgressReporter
from robossl.streams.formats.episode_data import (
    EpisodeData,
    EpisodeReader,
    Rows,
    build_episode,
    create_stream_like,
    finite,
)
from robossl.streams.schema import Schema, observation_name
from robossl.streams.stream import Stream

_OWN = "robossl"  # the key of our header in theirs
_BYTES = 64 << 20  # [bytes] of episodes written at once
_FURTHER = ("state", "physics", "info")  # roles that go into infos


def write(stream: Stream, folder: Path, images: str, progress: ProgressReporter) -> dict[str, Any]:
    """Write a data set that `minari.MinariDataset(folder / "data")` reads."""
    import minari
    from minari.dataset.minari_storage import MinariStorage

    lives = EpisodeReader(stream)
    storage = MinariStorage.new(
        folder / "data",
        stream.observation_space,
        stream.action_space,
        _spec(stream.header),
        data_format="hdf5",
        jpeg_encoding=False,
    )
    progress.start("export", len(lives.episodes), "episodes")
    places, waiting = [], []
    for life in lives:
        waiting.append(_buffer(stream.schema, life))
        places.append({"lane": life.lane, "ordinal": life.ordinal})
        if sum(map(len, waiting)) * stream.schema.row_bytes > _BYTES:
            storage.update_episodes(waiting)
            waiting = []
        progress.update(1)
    storage.update_episodes(waiting)
    storage.update_episode_metadata(places)
    progress.stop()
    storage.update_metadata(
        {
            "dataset_id": dataset_id(folder.name),
            "minari_version": minari.__version__,
            "algorithm_name": str(stream.header.get("policy") or "unknown"),
            "description": f"Exported from a robossl stream of {stream.header.get('env')}.",
            _OWN: {**stream.header, "lost": []},
        }
    )
    return {"episodes": len(places), "rows": lives.rows, "losses": lives.losses()}


def dataset_id(name: str) -> str:
    """A name as Minari wants it: words, and a version."""
    plain = re.sub(r"[^-\w]+", "-", name).strip("-") or "stream"
    return plain if re.fullmatch(r"[-\w]+-v\d+", plain) else f"{plain}-v0"


def _spec(header: Mapping[str, Any]) -> gym.envs.registration.EnvSpec | None:
    """The spec of the recorded env, where it is registered here."""
    try:
        return gym.spec(str(header.get("env")))
    except gym.error.Error:
        return None


def _buffer(schema: Schema, life: EpisodeData) -> Any:
    from minari.data_collector import EpisodeBuffer

    rows = life.rows
    infos = {field.name: rows[field.name] for field in schema.fields if field.role in _FURTHER}
    return EpisodeBuffer(
        observations=schema.join(rows),
        actions=rows["action"][:-1],
        rewards=rows["reward"][:-1],
        terminations=rows["terminated"][:-1],
        truncations=rows["truncated"][:-1],
        infos={**infos, "valid": rows["valid"]},
    )


def read(source: str | Path, folder: Path, progress: ProgressReporter) -> dict[str, Any]:
    """Read a data set into a new stream in `folder`."""
    dataset = _open(source)
    header = dataset.storage.metadata.get(_OWN)
    foreign = header is None
    if foreign:
        facts = {"env": dataset.env_spec.id} if dataset.env_spec is not None else {}
        name = dataset.spec.dataset_id
        schema = Schema.of(dataset.observation_space, dataset.action_space)
        stream = Stream.create(folder, schema, 1, **facts, policy=f"minari {name}", seed=None)
    else:
        stream = create_stream_like(folder, header)
    losses = _losses(dataset) if foreign else []
    progress.start("import", len(dataset), "episodes")
    metadata = dataset.storage.get_episode_metadata(dataset.episode_indices)
    for episode, facts in zip(dataset, metadata):
        rows = _rows(stream.schema, episode, foreign)
        stream.extend(rows, 0 if foreign else int(facts["lane"]))
        progress.update(1)
    progress.stop()
    stream.close()
    return {"episodes": len(dataset), "rows": stream.rows, "losses": losses}


def _open(source: str | Path) -> Any:
    """The data set in a folder, or of that name among those Minari has here."""
    import minari

    path = Path(source)
    places = [p for p in (path, path / "data") if (p / "metadata.json").is_file()]
    try:
        if places:
            return minari.MinariDataset(places[0])
        return minari.load_dataset(str(source))
    except (FileNotFoundError, ValueError, AttributeError) as error:
        why = "" if isinstance(error, FileNotFoundError) else f" ({str(error).splitlines()[0]})"
        raise UsageError(
            f"no Minari data set in {source}{why}; "
            "expected a folder with data/metadata.json, or a name that `minari list local` shows"
        ) from error
    except (OSError, KeyError, AssertionError) as error:
        raise CorruptedFileError(f"the Minari data set in {source} is damaged: {error}") from error


def _rows(schema: Schema, episode: Any, foreign: bool) -> Rows:
    """The rows of an episode; `RequestError` where it is no episode of this schema."""
    parts = spaces.flatten_by_path(schema.observation_space, episode.observations)
    observations = {observation_name(path): value for path, value in parts.items()}
    known = {} if foreign else {n: episode.infos[n] for n in (*_names(schema), "valid")}
    outcomes = {
        "reward": episode.rewards,
        "terminated": episode.terminations,
        "truncated": episode.truncations,
    }
    lengths = {len(value) for value in (*observations.values(), *known.values())}
    if lengths != {len(episode.rewards) + 1}:
        raise UsageError(
            f"episode {episode.id} has {len(episode.rewards)} steps and {sorted(lengths)} observations; "
            "expected one more than steps"
        )
    rows = build_episode(schema, observations, np.asarray(episode.actions), outcomes, known)
    if foreign and not finite(rows):
        raise UsageError(f"episode {episode.id} has numbers that are not finite")
    return rows


def _names(schema: Schema) -> list[str]:
    return [field.name for field in schema.fields if field.role in _FURTHER]


def _losses(dataset: Any) -> list[str]:
    """What a stream does not keep of a foreign data set."""
    first = dataset[0]
    words = []
    if np.asarray(first.rewards).dtype != np.float32:
        words.append(f"rewards are {np.asarray(first.rewards).dtype}; a stream keeps float32")
    if np.asarray(first.actions).dtype == np.float64:
        words.append("actions are float64; a stream keeps float32")
    if first.infos:
        words.append(f"infos are left out: {', '.join(sorted(first.infos))}")
    return words
