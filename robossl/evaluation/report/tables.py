"""The tables of the page: words and numbers with their intervals, headed and captioned."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from robossl.evaluation.report.plots import criterion_words, words
from robossl.evaluation.report.report_file import Report, reason
from robossl.evaluation.report.text import interval, number, percent

_OURS = ("representation", "planner")
_CRITERIA = ("any", "final", "held")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], ours: Sequence[str] = ()) -> str:
    """A table; cells are HTML already, the first of each row names it, those named in `ours` stand out."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = []
    for name, *cells in rows:
        mark = ' class="ours"' if name in ours else ""
        inside = "".join(f"<td>{cell}</td>" for cell in cells)
        body.append(f'<tr{mark}><th scope="row">{escape(words(name))}</th>{inside}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption.split(".")[0])}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def figure_cell(figure: dict[str, Any] | None, share: bool = False) -> str:
    """A number and its interval."""
    if figure is None:
        return "–"
    mean = percent(figure["mean"]) if share else number(figure["mean"])
    return f'{mean} <span class="range">{interval(figure, share)}</span>'


def control(section: dict[str, Any]) -> str:
    """Returns and successes of every row."""
    rows = section["rows"]
    success = any("success" in row for row in rows.values())
    length = any("length" in row for row in rows.values())
    head = [
        "acting on",
        "return",
        *(["success"] if success else []),
        *(["steps"] if length else []),
        "episodes",
    ]
    body = []
    for name, row in rows.items():
        cells = [name, figure_cell(row["return"])]
        cells += [figure_cell(row.get("success"), share=True)] if success else []
        cells += [number(row["length"]["mean"]) if "length" in row else "–"] if length else []
        body.append([*cells, str(row["return"]["n"])])
    caption = "Control. Mean over held-out episodes with 95 % interval"
    caption += "; success is the env's own word at an episode's last step." if success else "."
    return table(caption, head, body, _OURS)


def goals(section: dict[str, Any]) -> str:
    """Success of every policy by criterion, what is left over chance, what a decision costs."""
    head = ["acting", *(criterion_words(c) for c in _CRITERIA), "held, over chance", "ms a decision", "pairs"]
    body = []
    for name, row in section["rows"].items():
        over = row.get("over_chance", {}).get("held")
        cells = [name, *(figure_cell(row[c], share=True) for c in _CRITERIA)]
        cells += [figure_cell(over, share=True), number(row["ms_per_decision"], 2), str(row["any"]["n"])]
        body.append(cells)
    budget = section.get("budget", 2 * section["offset"])
    caption = (
        f"Goals {section['offset']} steps away, budget {budget} steps, all policies on the same pairs. "
        "Touched: at any step; held: three steps in a row. 95 % Wilson intervals; over chance is "
        "(p − random) / (1 − random)."
    )
    return table(caption, head, body, _OURS)


def horizon(world: dict[str, Any], step_seconds: float | None) -> str:
    """Skill at each horizon, beside its ceiling and its floors."""
    rows = []
    for steps, figure in world["forward_interval"].items():
        ahead = f"{steps} ({number(int(steps) * step_seconds)} s)" if step_seconds else steps
        floors = [
            world.get(key, {}).get(steps) for key in ("forward_ceiling", "forward_linear", "forward_shuffled")
        ]
        shown = ["–" if f is None else number(f) if f > -9.99 else "below −10" for f in floors]
        rows.append([ahead, figure_cell(figure), *shown, f"{figure['n']:,}"])
    head = ["steps ahead", "model", "ceiling", "linear dynamics", "other actions", "forecasts"]
    return table("Prediction skill on held-out episodes. 0 is “nothing moves”, 1 is perfect.", head, rows)


def probes(world: dict[str, Any]) -> str:
    """R2 of every quantity."""
    rows = [
        [name, number(row["r2"]), number(row["observation"]), number(row["delta"])]
        for name, row in sorted(world["probes"].items(), key=lambda item: -item[1]["r2"])
    ]
    caption = "Linear probes. R² on held-out episodes, the worst dimension of each quantity; chance is 0."
    return table(caption, ["quantity", "latent state", "raw observation", "its change, latent"], rows)


def probe_curve(world: dict[str, Any]) -> str:
    """R2 by how many rows the probe was fitted on."""
    rows = [
        [f"{int(count):,}", number(row["line"]), number(row["network"])]
        for count, row in world["probe_curve"].items()
    ]
    caption = "Probes fitted on so many labelled rows. R² on held-out episodes, the mean over all quantities."
    return table(caption, ["labelled rows", "straight line", "small network"], rows)


def rewards(world: dict[str, Any]) -> str:
    """R2 of rewards that nobody trained on."""
    rows = [
        [name, number(row["line"]), number(row["network"]), number(row["observation"])]
        for name, row in world["reward_probe"].items()
    ]
    caption = (
        "Rewards that the model never saw: the task's own where one was recorded that is about no goal, and being near "
        "what one quantity was in some row. R² on held-out episodes."
    )
    return table(caption, ["reward", "line, latent", "network, latent", "network, observation"], rows)


def inverse_curve(world: dict[str, Any]) -> str:
    """How long an action can be told from what it did."""
    rows = [[steps, number(value)] for steps, value in world["inverse_excess_curve"].items()]
    caption = (
        "Telling the first action between two moments: R² from both, less R² from the first alone, by a small network "
        "(of choices, the share of right answers)."
    )
    return table(caption, ["steps between", "told by the change"], rows)


def health(world: dict[str, Any], own: dict[str, Any]) -> str:
    """Figures that warn: of the held-out episodes, then the learner's own."""
    names = {
        "effective_rank": f"effective rank of the latent state, of {world.get('latent', 'its')} dimensions",
        "dead_dimensions": "dead dimensions",
        "inverse_r2": "inverse R²",
        "inverse_excess_r2": "inverse R², beyond what the state gives away",
        "inverse_excess_accuracy": "inverse accuracy, beyond what the state gives away",
        "calibration": "expected error with error, rank correlation",
        "pit_error": "distance of errors from what is expected, size and shape (0 none; 0.25 far too large or small)",
    }
    rows = [[label, _plain(world[key])] for key, label in names.items() if world.get(key) is not None]
    rows += [[f"learner: {key}", _plain(v)] for key, v in own.items() if isinstance(v, (int, float))]
    caption = "Health. Figures of held-out episodes first, then the learner's own, on other episodes."
    return table(caption, ["figure", "value"], rows) if rows else ""


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else number(value, 3)


def ablation(section: dict[str, Any]) -> str:
    """One row for each set of objectives."""
    body = []
    for name, row in section["rows"].items():
        learned = ", ".join(escape(o) for o in row.get("objectives", ())) or "–"
        cells = [name, "nothing" if name == "untrained" else learned]
        cells.append(number(row["effective_rank"], 1) if "effective_rank" in row else "–")
        cells.append(number(row["probe_worst_r2"]) if "probe_worst_r2" in row else "–")
        cells.append(figure_cell(row.get("inverse_r2")))
        cells += [figure_cell(row.get("forward_skill", {}).get(h)) for h in ("1", "10", "25")]
        cells += [figure_cell(row.get("goals", {}).get(c), share=True) for c in ("any", "held")]
        body.append(cells)
    head = ["objectives", "learned from", "rank", "worst probe R²", "inverse R²", "skill 1", "10", "25 steps"]
    caption = (
        f"The same network, stream, seed and {section['updates']:,} updates for every row; held-out episodes. "
        "The inverse is read by the same small network in all rows. 95 % intervals over episodes or pairs."
    )
    return table(caption, [*head, "goals touched", "held"], body, ("own",))


def compared(reports: Sequence[Report], names: Sequence[str]) -> str:
    """The headline figures of several reports, one column each."""
    lines: list[tuple[str, tuple[str, ...], bool]] = [
        ("prediction skill, 1 step", ("world", "forward_interval", "1"), False),
        ("prediction skill, 25 steps", ("world", "forward_interval", "25"), False),
        ("inverse R²", ("world", "inverse_interval"), False),
        ("goals touched, planner", ("goals", "rows", "planner", "any"), True),
        ("goals held, planner", ("goals", "rows", "planner", "held"), True),
        ("goals held, random", ("goals", "rows", "random", "held"), True),
        ("return on the representation", ("control", "rows", "representation", "return"), False),
        ("return on raw observations", ("control", "rows", "raw", "return"), False),
        ("return of random actions", ("control", "rows", "random", "return"), False),
    ]
    rows = [
        ["environment", *(escape(r["env"]) for r in reports)],
        ["seed", *(str(r["seed"]) for r in reports)],
    ]
    for label, path, share in lines:
        cells = []
        for report in reports:
            value: Any = report
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            why = escape(reason(report, path[0]) or "not measured in this run")
            cells.append(f'<span title="{why}">–</span>' if value is None else figure_cell(value, share))
        if any("–</span>" not in cell for cell in cells):
            rows.append([label, *cells])
    rows.append(["wall time [s]", *(number(sum(r["seconds"].values())) for r in reports)])
    caption = (
        "Side by side. Means with 95 % intervals over episodes, pairs or forecasts; every run is one "
        "training seed, and seeds differ too."
    )
    return table(caption, ["", *names], rows)
