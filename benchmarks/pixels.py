"""Goal reaching by planning from 64x64 images, for several objectives: `python -m benchmarks.pixels`.

The two-link arm is observed through a camera. One control step lasts `--substeps` physics steps of 0.02 s, so that an
action moves the arm by about two pixels. Colored-noise actions are recorded for `--steps`. Each row trains on the same
stream with the same network, seed and number of updates, and plans to the same held-out goals 25 steps away. Success is
evaluated in the physical state, with angles around the circle. Prints JSON, with `--markdown` a table. Flags such as
`--world_model.latent_dim 128` set the world model. Finished seeds in `--out` are not measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import robossl
from benchmarks.cli import model_settings, run_main
from benchmarks.parts import Part, add_engine_flags, make_once, result_of, run_parts
from robossl.evaluation.ablation import evaluate_ablation
from robossl.evaluation.context import EvaluationContext
from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.report.number_format import interval
from robossl.logging.progress import make_progress
from robossl.streams import Stream
from robossl.training.config import LearnConfig, thread_count
from robossl.training.config_io import parse
from robossl.world_model import WorldModel, WorldModelConfig
from robossl.world_model.config import PIXEL_CONFIG
from robossl.world_model.device import resolve

_ENV, _SIZE = "robossl/Reacher-v0", (64, 64)
_ROWS = ("own", "without_image_reconstruction", "forward", "inverse", "sigreg")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--steps", type=int, default=42_000, metavar="N", help="of the stream (42000)")
    add("--updates", type=int, default=4_000, metavar="N", help="gradient steps of a row (4000)")
    add("--substeps", type=int, default=8, metavar="N", help="of 0.02 s in a control step (8)")
    add("--goal-trials", type=int, default=200, metavar="N", help="pairs of start and goal (200)")
    add("--goal-horizon", type=int, default=25, metavar="N", help="[steps] between start and goal (25)")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N")
    add("--only", nargs="+", default=_ROWS, metavar="ROW", help=f"of {', '.join(_ROWS)}, untrained")
    add("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 for all cores")
    add("--device", default="auto", help="where the networks run (auto)")
    add("--out", type=Path, default=Path("runs/pixels"), metavar="DIR", help="of streams and results")
    add_engine_flags(parser)
    add("--markdown", action="store_true", help="print the table instead of JSON")
    options, rest = parser.parse_known_args()
    config = pixel_config(model_settings(rest))
    settings = {k: v for k, v in vars(options).items() if k not in ("workers", "engine")}
    settings |= {"out": str(options.out), "world_model": config.to_json()}
    options.world_model, options.key = config.to_json(), key_of(settings)
    parts = [Part("measure_seed", (seed,)) for seed in options.seeds]
    threads = thread_count(options.threads)
    run_parts("benchmarks.pixels", parts, options, options.out, ("seeds",), threads, f"-{options.key}")
    runs = [result_of(options.out, f"{seed}-{options.key}") for seed in options.seeds]
    print(table(runs) if options.markdown else json.dumps({"settings": settings, "runs": runs}, indent=2))


def pixel_config(settings: dict[str, Any]) -> WorldModelConfig:
    """Return `PIXEL_CONFIG` with these settings."""
    preset = {f"world_model.{name}": value for name, value in PIXEL_CONFIG.to_json().items()}
    return parse(LearnConfig, ("preset", preset), ("command line", settings)).world_model


def key_of(settings: dict[str, Any]) -> str:
    """Return a digest of the settings that decide the result of a seed; one folder has results of several settings."""
    values = {k: v for k, v in settings.items() if k not in ("seeds", "out", "markdown")}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def measure_seed(options: argparse.Namespace, seed: int) -> None:
    """Measure one seed, unless it was measured before."""
    result_of(options.out, f"{seed}-{options.key}", lambda: measure(options, seed))


def measure(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the rows of one seed: metrics and goal reaching of each variant, and of the random policy."""
    stream = collect_once(options, seed)
    config = WorldModelConfig.from_json(options.world_model)
    model = WorldModel(config, stream.observation_space, stream.action_space, seed)
    context = EvaluationContext(
        _ENV,
        seed,
        model.to(resolve(options.device)),
        stream,
        goal_horizons=(options.goal_horizon,),
        goal_trials=options.goal_trials,
        ablation_updates=options.updates,
        threads=thread_count(options.threads),
        progress=make_progress(),
    )
    section = evaluate_ablation(context, only=options.only)
    return {"seed": seed, **section, "missing": context.missing}


def collect_once(options: argparse.Namespace, seed: int) -> Stream:
    """Return the stream of this seed, which is recorded if it does not exist."""

    def record(path: Path) -> None:
        with closing(
            robossl.make(_ENV, 32, options.threads, pixels=_SIZE, substeps=options.substeps)
        ) as envs:
            robossl.collect(envs, "colored_noise", options.steps, path, seed, make_progress()).close()

    return Stream.open(make_once(options.out / f"stream-{seed}-{options.substeps}-{options.steps}", record))


def table(runs: list[dict[str, Any]]) -> str:
    """Return Markdown: one line for each row and seed."""
    lines = [
        "| row | seed | rank | inverse R2 | skill 1 | 10 | 25 steps | reached at any step | at the end | sustained "
        "| trials |",
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
            for criterion in CRITERIA:
                rate = row.get("goal_reaching", {}).get(criterion)
                cells.append(f"{100 * rate['mean']:.0f} % {interval(rate, True)}" if rate else "-")
            lines.append(f"| {' | '.join([*cells, str(run.get('trials', '-'))])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
