"""Goals reached by planning from 64x64 pixels, beside what other objectives reach: `python -m benchmarks.pixels`.

The two-link arm is seen through a camera; one control step lasts `--substeps` physics steps of 0.02 s, so that an
action leaves a trace of about two pixels. Coloured noise for `--rows` steps, then every row learns from the same stream
with the same network, seed and number of updates, and plans to the same held-out goals 25 steps away; success is judged
in physical state, angles around the circle. Prints JSON, with `--markdown` a table. Flags it does not know go to the
model: `--world_model.latent_dim 128`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import robossl
import robossl.training.api
from benchmarks.cli import run_main, model_settings
from robossl.evaluation.ablation import evaluate_ablation
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.report.number_format import interval
from robossl.logging.progress import make_progress
from robossl.streams import Stream
from robossl.training import config_io
from robossl.training.config import LearnConfig, thread_count
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import PIXEL_CONFIG
from robossl.world_model.device import resolve

_ENV, _SIZE = "robossl/Reacher-v0", (64, 64)
_ROWS = ("own", "without_image_reconstruction", "forward", "inverse", "sigreg")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=42_000, metavar="N", help="steps of the stream (42000)")
    parser.add_argument(
        "--updates", type=int, default=4_000, metavar="N", help="gradient steps of a row (4000)"
    )
    parser.add_argument(
        "--substeps", type=int, default=8, metavar="N", help="of 0.02 s in a control step (8)"
    )
    parser.add_argument("--pairs", type=int, default=200, metavar="N", help="starts and goals (200)")
    parser.add_argument("--offset", type=int, default=25, metavar="N", help="[steps] between them (25)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument(
        "--only", nargs="+", default=_ROWS, metavar="ROW", help=f"of {', '.join(_ROWS)}, untrained"
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto", help="where the networks run (auto)")
    parser.add_argument("--out", type=Path, default=Path("runs/pixels"), metavar="DIR", help="of the streams")
    parser.add_argument("--markdown", action="store_true", help="the table instead of JSON")
    given, rest = parser.parse_known_args()
    world = configured(model_settings(rest))
    runs = []
    with robossl.training.api.torch_threads(given.threads):
        for seed in given.seeds:
            runs.append(compared(given, world, seed))
    settings = {**vars(given), "out": str(given.out), "world": world.to_json()}
    print(table(runs) if given.markdown else json.dumps({"settings": settings, "runs": runs}, indent=2))


def configured(settings: dict[str, Any]) -> WorldModelConfig:
    """The recipe for pixels, with these settings over it."""
    recipe = {f"world_model.{name}": value for name, value in PIXEL_CONFIG.to_json().items()}
    return config_io.parse(LearnConfig, ("recipe", recipe), ("command line", settings)).world_model


def compared(given: argparse.Namespace, world: WorldModelConfig, seed: int) -> dict[str, Any]:
    """One seed: every row, the random policy, and what the first row's model is worth."""
    stream = lived(given, seed)
    model = WorldModel(world, stream.observation_space, stream.action_space, seed).to(resolve(given.device))
    context = EvaluationContext(
        env=_ENV,
        seed=seed,
        model=model,
        stream=stream,
        ablation_updates=given.updates,
        goal_horizon=given.offset,
        goal_trials=given.pairs,
        threads=thread_count(given.threads),
        progress=make_progress(),
    )
    section = evaluate_ablation(context, only=given.only)
    return {"seed": seed, **section, "missing": context.missing}


def lived(given: argparse.Namespace, seed: int) -> Stream:
    """The stream of this seed; the one in the folder where there is one."""
    folder = given.out / f"stream-{seed}-{given.substeps}-{given.rows}"
    if (folder / "stream.json").is_file():
        return Stream.open(folder)
    envs = robossl.make(_ENV, 32, given.threads, pixels=_SIZE, substeps=given.substeps)
    return robossl.collect(envs, "colored_noise", given.rows, folder, seed, make_progress())


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: one line a row and seed."""
    lines = [
        "| row | seed | rank | inverse R2 | skill 1 | 10 | 25 steps | goals reached | at the end | sustained | trials |",
        "| --- " * 11 + "|",
    ]
    for run in runs:
        for name, row in run["rows"].items():
            skill = row.get("prediction_skill", {})
            cells = [name, str(run["seed"])]
            cells += (
                [f"{row['effective_rank']:.0f}", f"{row['inverse_r2']['mean']:.2f}"] if skill else ["-", "-"]
            )
            cells += [f"{skill[h]['mean']:.2f}" if h in skill else "-" for h in ("1", "10", "25")]
            goals = row.get("goal_reaching", {})
            for criterion in CRITERIA if goals else ():
                figure = goals[criterion]
                cells.append(f"{100 * figure['mean']:.0f} % {interval(figure, True)}")
            lines.append(f"| {' | '.join([*cells, str(run.get('trials', '-'))])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
