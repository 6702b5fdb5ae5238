"""Pretrained models of the robots: `python -m benchmarks.pretrained --robots reacher cartpole --out assets/pretrained`.

For each robot, colored noise is recorded without reward, and a world model is trained on it. On goal envs the agent is
a planner with goal heads, which uses no reward. Elsewhere it is `imagination-sac`, trained in the world model on the
rewards of `--labels` of the recorded steps, without env steps. All are evaluated on held-out episodes beside random
actions. The folder of a robot is an agent folder: `robossl play FOLDER/reacher --video reacher.mp4` shows it, and
`robossl.from_pretrained("reacher")` returns its world model. Robots that are in `--out` are not trained again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import robossl
from benchmarks.cli import run_main
from robossl.core.io import read_json, write_bytes_atomic, write_json
from robossl.core.spaces import is_goal_space
from robossl.core.statistics import paired_difference
from robossl.logging.progress import make_progress
from robossl.training import output_dirs
from robossl.world_model import WorldModel, WorldModelConfig

_COLLECTORS = 64  # sub-environments that record
_WIDTH = 128  # of every hidden layer of the world model, so that the set stays small
_BY_REWARD = "imagination-sac"  # a policy: `mpc` would take 0.1 s for each decision
_EPISODES = 8  # held-out ones of each row
_KEPT = ("kind", "format", "versions", "env", "agent", "seed", "encoder", "row")  # entries of the manifest


@dataclass(frozen=True)
class Recipe:
    """How the model of a robot is trained."""

    env: str
    steps: int = 80_000  # of colored noise, without reward
    updates: int = 2000  # of the world model
    agent: str = _BY_REWARD
    settings: dict[str, Any] = field(default_factory=dict)


RECIPES = {
    "reacher": Recipe("robossl/Reacher-v0", 48_000, 1200, "planner"),
    "cartpole": Recipe("robossl/CartPoleSwingUp-v0"),
    "pointmaze": Recipe("robossl/PointMaze-v0", 48_000, 1200, "planner", {"cost": "temporal"}),
    "arm": Recipe("robossl/ArmReach-v0", 80_000, 800, "planner"),
    "cheetah": Recipe("robossl/CheetahRun-v0"),
    "walker": Recipe("robossl/WalkerStand-v0"),
    "hopper": Recipe("robossl/HopperStand-v0"),
    "quadruped": Recipe("robossl/QuadrupedStand-v0"),
    "humanoid": Recipe("robossl/HumanoidStand-v0"),
    "pusht": Recipe("robossl/PushT-v0", 80_000, 1200, "planner", {"cost": "goal"}),
    "hand": Recipe("robossl/HandTurn-v0"),
}


def main() -> None:
    """Train, evaluate and write the models that are not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--robots", nargs="+", choices=list(RECIPES), default=list(RECIPES), metavar="NAME")
    add("--out", type=Path, default=Path("assets/pretrained"), metavar="DIR")
    add("--seed", type=int, default=0, metavar="N")
    add(
        "--labels",
        type=int,
        default=10_000,
        metavar="N",
        help="steps whose reward the agent is given (10000)",
    )
    add(
        "--agent-updates",
        type=int,
        default=2500,
        metavar="N",
        help="gradient steps of imagination-sac (2500)",
    )
    add("--scale", type=float, default=1.0, help="multiplies steps and updates, for a short trial (1)")
    add(
        "--episodes",
        type=int,
        default=_EPISODES,
        metavar="N",
        help="held-out episodes of each row (8); 24 and 32 were used where the lead is small",
    )
    add("--threads", type=int, default=1, metavar="N")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.robots:
        if (options.out / name / "results.json").is_file():
            print(f"{name}: {json.dumps(read_json(options.out / name / 'results.json'))}")
            continue
        results = train(name, RECIPES[name], options)
        print(f"{name}: {json.dumps(results)}", flush=True)
    print("\n".join(table_row(folder.parent) for folder in sorted(options.out.glob("*/results.json"))))


def train(name: str, recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Train, evaluate and write the model of one robot; return its results."""
    steps, updates = int(recipe.steps * options.scale), int(recipe.updates * options.scale)
    shared: dict[str, Any] = {"seed": options.seed, "threads": options.threads}
    progress = make_progress()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        stream = robossl.collect(
            recipe.env, "colored_noise", steps, work / "stream", num_envs=_COLLECTORS, **shared
        )
        widths = (_WIDTH, _WIDTH)
        config = WorldModelConfig(
            encoder_hidden=widths, dynamics_hidden=widths, inverse_hidden=widths, decoder_hidden=(_WIDTH,)
        )
        head_updates: Literal["auto"] | int = "auto" if is_goal_space(stream.observation_space) else 0
        robossl.pretrain(
            stream, updates, config, work / "model", progress=progress, head_updates=head_updates, **shared
        )
        model = WorldModel.load(work / "model")  # without the path of this folder
        if recipe.agent == _BY_REWARD:
            learn: dict[str, Any] = {
                "steps": 0,
                "stream": stream,
                "offline_updates": int(options.agent_updates * options.scale),
                "settings": {"labeled_steps": options.labels, **recipe.settings},
            }
        else:
            learn = {"steps": 1, "num_envs": 1, "settings": recipe.settings}
        robossl.train(
            recipe.env, recipe.agent, model, out=work / "agent", progress=progress, **learn, **shared
        )
        results = {
            "env": recipe.env,
            "agent": recipe.agent,
            "seed": options.seed,
            "steps": stream.transitions,
            "updates": updates,
            "labeled_steps": options.labels if recipe.agent == _BY_REWARD else 0,
            "agent_updates": learn.get("offline_updates", 0),
            **evaluate(work, options),
        }
        write(name, work, options, results)
    return results


def evaluate(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the model and the agent in `work` achieve on held-out episodes."""
    shared: dict[str, Any] = {"seed": options.seed, "threads": options.threads, "videos": False}
    model = robossl.evaluate(
        work / "model", work / "stream", episodes=1, goal_trials=0, out=work / "e1", **shared
    )
    control = robossl.evaluate(work / "agent", episodes=options.episodes, out=work / "e2", **shared)
    world, rows = model["world_model"], control["control"]["rows"]
    row = output_dirs.read_manifest(work / "agent", "agent")["row"]
    return {
        "prediction_skill_10": world["prediction_skill"]["10"]["mean"],
        "linear_skill_10": world["forward_linear"]["10"],
        **measured(rows, row),
    }


def measured(rows: dict[str, Any], row: str) -> dict[str, Any]:
    """Return how a row of the control table compares with random actions and no action in the same episodes."""
    own, random, zero = (
        np.array(rows[name]["episodes"]["return"]) for name in (row, "random", "zero_action")
    )
    return {
        "episodes": len(own),
        "return": rows[row]["return"],
        "random_return": rows["random"]["return"],
        "zero_action_return": rows["zero_action"]["return"],
        "lead_over_random": paired_difference(own, random),
        "lead_over_zero_action": paired_difference(own, zero),
        "success": rows[row].get("success", {}).get("mean"),
        "random_success": rows["random"].get("success", {}).get("mean"),
    }


def write(name: str, work: Path, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write the agent in `work` and its card into the folder of the robot, without what only this machine has."""
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    manifest = output_dirs.read_manifest(work / "agent", "agent")
    command = f"python -m benchmarks.pretrained --robots {name} --seed {options.seed}"
    if options.episodes != _EPISODES:
        command += f" --episodes {options.episodes}"
    kept = {"command": command, **{key: manifest[key] for key in _KEPT}}
    write_json(folder / output_dirs.MANIFEST, kept, checksum=True)
    shutil.copytree(work / "agent" / "agent", folder / "agent", dirs_exist_ok=True)
    write_bytes_atomic(folder / "card.md", card(name, results, command).encode())
    write_json(folder / "results.json", results, checksum=True)  # last: it marks a finished robot


def table_row(folder: Path) -> str:
    """Return the line of a model for the table of docs/pretrained.md."""
    results = read_json(folder / "results.json")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def row_text(prefix: str) -> str:
        value, success = results[f"{prefix}return"], results[f"{prefix}success"]
        text = f"{value['mean']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"
        return text if success is None else f"{text}, {success:.0%}"

    labels = f", {results['labeled_steps']:,} rewards" if results["labeled_steps"] else ""
    columns = (
        f"`{folder.name}`",
        f"{results['steps']:,} steps{labels}, {results['updates']:,} updates",
        f"`{results['agent']}` {row_text('')}",
        row_text("random_"),
        f"{results['prediction_skill_10']:.3f} ({results['linear_skill_10']:.3f})",
        f"{size / 1e6:.1f} MB",
    )
    return f"| {' | '.join(columns)} |"


def card(name: str, results: dict[str, Any], command: str) -> str:
    """Return the model card of a robot."""
    labels = results["labeled_steps"]
    rewards = (
        f"The agent also used the reward of {labels:,} of these steps in "
        f"{results['agent_updates']:,} gradient steps, and no further env steps."
        if labels
        else "Neither the model nor the agent used any reward."
    )

    def estimate(key: str) -> str:
        value = results[key]
        return f"{value['mean']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"

    def percent(key: str) -> str:
        return "-" if results[key] is None else f"{results[key]:.0%}"

    rows = [f"| return [95 % interval] | {estimate('return')} | {estimate('random_return')} |"]
    if "lead_over_random" in results:
        rows += [
            f"| lead over random actions, same episodes | {estimate('lead_over_random')} | |",
            f"| lead over no action, same episodes | {estimate('lead_over_zero_action')} | |",
        ]
    lines = [
        f"# {name}: world model and agent of {results['env']}",
        "",
        f"The world model was trained on {results['steps']:,} steps of colored noise, without reward, with "
        f"{results['updates']:,} gradient steps, seed {results['seed']}. {rewards}",
        "",
        f"| held-out, {results['episodes']} episodes | {results['agent']} | random |",
        "| --- | --- | --- |",
        *rows,
        f"| success at the end | {percent('success')} | {percent('random_success')} |",
        "",
        f"Prediction skill 10 steps ahead (1 perfect, 0 no change): {results['prediction_skill_10']:.3f}; linear "
        f"dynamics {results['linear_skill_10']:.3f}.",
        "",
        "One seed: for examples, tests and a first look, not for comparisons. License: MIT, as the code.",
        f"Made by `{command}`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_main(main)
