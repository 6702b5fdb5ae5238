"""Several seeds as one piece of work: finished seeds stay, unfinished ones go on, and pages never replace others."""

import json
from pathlib import Path

import pytest
from resume_helpers import outcome, tiny
from small_report import small_report

from robossl.core.errors import OperationError, UsageError
from robossl.core.interfaces import NullProgress
from robossl.evaluation.report import report_file
from robossl.evaluation.report.sections import videos_section
from robossl.training import output_dirs
from robossl.training.phases import learn
from robossl.training.report_pages import write_page
from robossl.training.seed_runs import learn_seeds, resume_seeds


class FakeLearn:
    """Writes the report of a run at once; seeds in `interrupted` and `failing` end before it, once."""

    def __init__(self, interrupted=(), failing=(), without_page=()):
        self.calls, self.interrupted, self.failing = [], set(interrupted), set(failing)
        self.without_page = set(without_page)

    def __call__(self, config=None, out=None, resume=None, progress=None, **options):
        folder = Path(resume or out)
        self.calls.append(("resume" if resume else "start", folder.name))
        if not resume:
            output_dirs.create_output_dir(folder, "")
            output_dirs.write_manifest(folder, "run", config, env=config.env, seed=config.seed)
        seed = output_dirs.read_manifest(folder, "run")["seed"]
        if seed in self.without_page:
            self.without_page.discard(seed)
            report_file.write(folder, small_report() | {"seed": seed})
            raise KeyboardInterrupt
        for chosen, error in ((self.interrupted, KeyboardInterrupt), (self.failing, OperationError)):
            if seed in chosen:
                chosen.discard(seed)
                raise error("stopped")
        left_out = ("goal_reaching", "world_model")
        report = small_report() | {"seed": seed, "missing": dict.fromkeys(left_out, "left out")}
        report = {key: value for key, value in report.items() if key not in left_out}
        report_file.write(folder, report)
        (folder / "report.html").write_text("the page of the run")
        return report


def run(fake, out, seeds=(0, 1, 2), **changes):
    return learn_seeds(fake, tiny(**changes), list(seeds), out, NullProgress())


def test_report_covers_all_seeds_and_has_tables(tmp_path):
    fake = FakeLearn()
    report = run(fake, tmp_path / "seeds")
    assert fake.calls == [("start", f"seed-{seed}") for seed in range(3)]
    assert report["comparison"]["groups"][0]["seeds"] == [0, 1, 2]
    assert (tmp_path / "seeds" / "report.html").is_file()
    assert (tmp_path / "seeds" / "tables" / "results.md").read_text().startswith("| metric | median |")


def test_interrupted_seed_is_resumed_and_finished_ones_are_not_repeated(tmp_path):
    fake = FakeLearn(interrupted={1})
    with pytest.raises(KeyboardInterrupt, match="robossl learn --resume"):
        run(fake, tmp_path / "seeds")
    fake.calls.clear()
    report = resume_seeds(fake, tmp_path / "seeds", NullProgress())
    assert fake.calls == [("resume", "seed-1"), ("start", "seed-2")]
    uninterrupted = run(FakeLearn(), tmp_path / "other" / "seeds")
    assert report["comparison"]["metrics"] == uninterrupted["comparison"]["metrics"]


def test_seed_that_ended_between_its_report_and_its_page_is_resumed(tmp_path):
    fake = FakeLearn(without_page={0})
    with pytest.raises(KeyboardInterrupt):
        run(fake, tmp_path / "seeds", (0,))
    resume_seeds(fake, tmp_path / "seeds", NullProgress())
    assert fake.calls == [("start", "seed-0"), ("resume", "seed-0")]
    assert (tmp_path / "seeds" / "seed-0" / "report.html").is_file()


def test_same_call_goes_on_and_more_seeds_can_be_added(tmp_path):
    fake = FakeLearn()
    run(fake, tmp_path / "seeds", (0, 1))
    fake.calls.clear()
    report = run(fake, tmp_path / "seeds", (2,))
    assert fake.calls == [("start", "seed-2")]
    assert report["comparison"]["groups"][0]["seeds"] == [0, 1, 2]


def test_failed_seed_is_named_and_the_others_are_reported(tmp_path):
    fake = FakeLearn(failing={1})
    with pytest.raises(OperationError, match="1 of 3 seeds failed \\(seed 1: stopped\\)"):
        run(fake, tmp_path / "seeds")
    data = report_file.read(tmp_path / "seeds")["comparison"]
    assert data["groups"][0]["seeds"] == [0, 2]
    assert data["failed"] == [{"seed": 1, "error": "stopped"}]
    assert (
        len(resume_seeds(fake, tmp_path / "seeds", NullProgress())["comparison"]["groups"][0]["seeds"]) == 3
    )


def test_folder_of_another_config_is_refused_in_one_line(tmp_path):
    run(FakeLearn(), tmp_path / "seeds")
    with pytest.raises(UsageError, match=r"has runs with world_model.latent_dim 8, got 9") as error:
        run(FakeLearn(), tmp_path / "seeds", world_model__latent_dim=9)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1], [1.5], [True]])
def test_invalid_seeds_are_refused_before_the_work(tmp_path, seeds):
    words = "seeds: expected different whole numbers" if seeds else "seeds: expected one or more, got none"
    with pytest.raises(UsageError, match=words):
        learn_seeds(FakeLearn(), tiny(), seeds, tmp_path / "seeds", NullProgress())
    assert not (tmp_path / "seeds").exists()


def test_more_seeds_at_once_than_cores_are_refused_before_the_work(tmp_path):
    for at_once, words in (
        (1000, "seeds_at_once: expected at most"),
        (0, "seeds_at_once: expected 1 or more"),
    ):
        with pytest.raises(UsageError, match=words):
            learn_seeds(FakeLearn(), tiny(), [0, 1], tmp_path / "seeds", NullProgress(), at_once)
    assert not (tmp_path / "seeds").exists()


# --- pages


@pytest.fixture
def runs(tmp_path):
    """Return the folders of two runs that differ in the seed, and one of another config."""
    fake = FakeLearn()
    paths = []
    for seed, changes in ((0, {}), (1, {}), (0, {"world_model__latent_dim": 9})):
        path = tmp_path / "runs" / f"run-{len(paths)}"
        fake(tiny(seed=seed, **changes), path)
        paths.append(path)
    return paths


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_page_of_a_run_is_written_elsewhere_with_its_videos(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = report_file.read(runs[0])
    report["videos"] = {"agent": {"file": "agent.mp4", "row": "observation"}}
    embedded = {"video": "data:,", "poster": "data:,"}
    monkeypatch.setattr(videos_section, "embed", lambda path: embedded)
    report_file.write(runs[0], report)
    (runs[0] / "agent.mp4").write_bytes(b"video")
    before = contents(runs[0])
    written = Path(write_page([runs[0]])["page"]).parent
    assert contents(runs[0]) == before
    assert written == Path("reports") / "run-0"
    assert (written / "agent.mp4").read_bytes() == b"video"
    assert report_file.read(written) == report
    assert Path(write_page([runs[0]])["page"]).parent == Path("reports") / "run-0-2"
    with pytest.raises(UsageError, match="is not empty"):
        write_page([runs[0]], runs[0])


def test_runs_that_differ_in_the_seed_only_are_one_group(runs, tmp_path):
    data = write_page(runs, tmp_path / "compared")["report"]["comparison"]
    assert [group["seeds"] for group in data["groups"]] == [[0, 1], [0]]
    assert [len(group["runs"]) for group in data["groups"]] == [2, 1]
    separate = write_page(runs, tmp_path / "separate", separate=True)["report"]["comparison"]
    assert [group["name"] for group in separate["groups"]] == ["run-0", "run-1", "run-2"]
    saved = json.loads((tmp_path / "compared" / "report.json").read_text())
    assert saved["comparison"]["groups"] == data["groups"]
    assert (tmp_path / "compared" / "tables" / "results.csv").is_file()


def test_folder_of_seeds_is_one_group(runs, tmp_path):
    run(FakeLearn(), tmp_path / "seeds")
    data = write_page([tmp_path / "seeds", runs[2]], tmp_path / "compared")["report"]["comparison"]
    assert [group["seeds"] for group in data["groups"]] == [[0, 1, 2], [0]]


def test_what_cannot_be_compared_is_refused_in_one_line(runs, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    output_dirs.write_manifest(study, "study")
    report_file.write(study, report_file.build_study("transfer", {}, small_report()))
    (runs[1] / "report.json").unlink()
    for folders, message in (
        ([runs[0], study], "expected runs, or studies, got both"),
        ([runs[0], runs[1]], "has no report yet; finish it: robossl learn --resume"),
        ([runs[0], runs[0]], "expected different folders"),
        ([tmp_path / "missing"], "no folder"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            write_page(folders, tmp_path / "out")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_seeds_at_once_give_the_runs_of_seeds_one_by_one(tmp_path):
    config = tiny(threads=1, agent__num_iterations=0)
    for name, at_once in (("serial", 1), ("parallel", 2)):
        learn(config, tmp_path / name, seeds=[0, 1], progress=NullProgress(), seeds_at_once=at_once)
    for seed in (0, 1):
        assert outcome(tmp_path / "serial" / f"seed-{seed}") == outcome(
            tmp_path / "parallel" / f"seed-{seed}"
        )
