"""Pages of finished work: one run again, several runs or groups of seeds compared, or several transfer studies."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robossl.core.errors import UsageError, shell_path
from robossl.core.io import write_bytes_atomic
from robossl.core.small_files import read_toml
from robossl.evaluation.comparison import Group, compare
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.section import Report
from robossl.evaluation.report.sections.comparison_section import differences_table, results_table
from robossl.evaluation.report.table_formats import FORMATS
from robossl.evaluation.report.text_summary import report_text
from robossl.evaluation.study_comparison import compare_studies
from robossl.training import output_dirs

SEEDS = "seeds"  # kind of a folder with one run for each seed
_KINDS = ("run", "evaluation", SEEDS, "study")


def write_page(
    folders: Sequence[str | Path],
    out: str | Path | None = None,
    separate: bool = False,
    mix_protocols: bool = False,
) -> dict[str, Any]:
    """Write report.json and report.html of finished work into a new folder; the given folders are not changed.

    Runs that differ in their seed only are one group, unless `separate`.

    Args:
        folders: Folders of runs, evaluations, `learn --seeds`, or of studies. One: its page again, with its videos.
        out: Output folder; must be empty or missing. Default: reports/NAME, or reports/compared.
        separate: Compare every run on its own.
        mix_protocols: Compare studies of different protocols.

    Returns:
        JSON object with "text" for the terminal, "page", "runs" and "report".

    Raises:
        UsageError: A folder has no report, or they cannot be compared.
    """
    paths = [Path(folder) for folder in folders]
    kinds = [str(output_dirs.read_manifest(path, *_KINDS)["kind"]) for path in paths]
    reports = [_read(path, kind) for path, kind in zip(paths, kinds)]
    default = f"reports/{paths[0].resolve().name}" if len(paths) == 1 else "reports/compared"
    with output_dirs.output_dir(out, default) as folder:
        if len(paths) == 1:
            report = reports[0]
            _copy_videos(report, paths[0], folder)
        else:
            data = _compared(paths, kinds, reports, separate, mix_protocols)
            report = report_file.build_study("comparison", data, reports[0])
            write_tables(folder, data)
        output_dirs.write_manifest(folder, "comparison", runs=[str(path) for path in paths])
        report_file.write(folder, report)
        page_path = page.write(folder, [report])
    text = f"{report_text(report)}\n{page_path.resolve()}"
    return {"text": text, "page": str(page_path), "runs": [str(p) for p in paths], "report": report}


def write_tables(folder: Path, data: dict[str, Any]) -> None:
    """Write the table of a comparison into the folder `tables` as Markdown, LaTeX and CSV."""
    table = results_table(data) if len(data["groups"]) == 1 else differences_table(data)
    (folder / "tables").mkdir(exist_ok=True)
    for ending, convert in FORMATS.items():
        write_bytes_atomic(folder / "tables" / f"results.{ending}", convert(table).encode())


def seed_runs(folder: Path) -> list[Path]:
    """Return the runs with a report in a folder of `learn --seeds`, by seed."""
    seeds = output_dirs.read_manifest(folder, SEEDS)["seeds"]
    paths = [folder / f"seed-{int(seed)}" for seed in seeds]
    return [path for path in paths if (path / report_file.NAME).is_file()]


def _read(path: Path, kind: str) -> Report:
    if not (path / report_file.NAME).is_file():
        command = "robossl transfer" if kind == "study" else "robossl learn"
        raise UsageError(f"{path} has no report yet; finish it: {command} --resume {shell_path(path)}")
    return report_file.read(path)


def _compared(
    paths: Sequence[Path],
    kinds: Sequence[str],
    reports: Sequence[Report],
    separate: bool,
    mix_protocols: bool,
) -> dict[str, Any]:
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(f"expected different folders, got one twice: {', '.join(map(str, paths))}")
    names = _short_names(paths)
    studies = [kind == "study" for kind in kinds]
    if all(studies):
        return compare_studies(names, [report["transfer"] for report in reports], mix_protocols)
    if any(studies):
        listed = ", ".join(f"{path} (a {kind})" for path, kind in zip(paths, kinds))
        raise UsageError(f"expected runs, or studies, got both: {listed}")
    return compare(_groups(paths, kinds, reports, names, separate))


def _groups(
    paths: Sequence[Path],
    kinds: Sequence[str],
    reports: Sequence[Report],
    names: Sequence[str],
    separate: bool,
) -> list[Group]:
    """Return the groups: a folder of seeds, or runs whose config.toml differs in the seed only."""
    members: dict[str, list[int]] = {}
    for index, (path, kind) in enumerate(zip(paths, kinds)):
        same = kind == "run" and not separate
        members.setdefault(_settings(path) if same else f"folder {index}", []).append(index)
    groups = []
    for indices in members.values():
        seeds = [reports[i]["seed"] for i in indices]
        if len(set(seeds)) < len(seeds):  # the same run twice: compared with each other
            indices_of_groups = [[i] for i in indices]
        else:
            indices_of_groups = [indices]
        for chosen in indices_of_groups:
            groups.append(_group(chosen, paths, kinds, reports, names))
    return groups


def _group(
    indices: Sequence[int],
    paths: Sequence[Path],
    kinds: Sequence[str],
    reports: Sequence[Report],
    names: Sequence[str],
) -> Group:
    first = indices[0]
    if kinds[first] == SEEDS:
        runs = seed_runs(paths[first])
        return Group(names[first], [report_file.read(run) for run in runs], [str(run) for run in runs])
    name = names[first] if len(indices) == 1 else f"{names[first]} and {len(indices) - 1} more"
    return Group(name, [reports[i] for i in indices], [str(paths[i]) for i in indices])


def _settings(path: Path) -> str:
    """Return the settings of a run without its seed, as text."""
    config = read_toml(path / "config.toml")
    return str(sorted((key, str(value)) for key, value in config.items() if key not in ("seed", "log")))


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the last part of each path, or the whole path where it is not unique."""
    names = [path.resolve().name for path in paths]
    return [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names)]


def _copy_videos(report: Report, source: Path, folder: Path) -> None:
    """Copy the video files that a report names, so that its new page keeps them."""
    for video in report.get("videos", {}).values():
        path = source / Path(str(video.get("file", ""))).name
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
