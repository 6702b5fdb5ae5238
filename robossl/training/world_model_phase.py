"""The world model of a run: trained to so many updates, published into its folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robossl.training import output_dirs
from robossl.training.experiment import Experiment

_ENOUGH = 10  # episodes, of which each split has its share
_SLICE = 200  # updates between two chances to save


def few_episodes_warning(stream: Any) -> str | None:
    """What to say before learning from a stream of which little or nothing will be held out; None where enough will."""
    count = len(stream.episodes())
    if count >= _ENOUGH:
        return None
    return (
        f"the stream has {count} of the ten episodes that a share for validation, probes "
        "and tests needs: little or nothing is held out, and there is little to evaluate"
    )


def train_world_model(run: Experiment, target: int, between: Callable[[], None] = lambda: None) -> None:
    """The learner goes on to its `target`-th update; `between` is called now and then."""
    learner = run.learner
    run.progress.start("learn the world", target - learner.updates, "updates")
    while learner.updates < target:
        learner.run(min(_SLICE, target - learner.updates), run.progress)
        between()
    run.progress.stop()


def save_model(run: Experiment) -> None:
    """The model as last published, with its health on its card, in the run's folder."""
    run.results["health"] = health = run.learner.health()
    for words in health["messages"]:
        if not words.startswith("well"):
            run.progress.message(f"world model: {words}")
    run.learner.ema_model.save(run.folder / "model")
    output_dirs.write_manifest(
        run.folder / "model", "model", env=run.config.env, seed=run.config.seed, stream="../stream"
    )
