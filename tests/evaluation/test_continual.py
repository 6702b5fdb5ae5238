"""Continual learning: a model that does not change transfers nothing, forgetting is negative, moments are paired."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_reports import context_with
from evaluation_toys import IdentityModel, MixedModel, PerfectModel, ToyStream

from robossl import registry
from robossl.core.errors import UsageError
from robossl.evaluation import continual
from robossl.evaluation.report import page, report_file
from robossl.evaluation.report.section import compute_sections
from robossl.evaluation.report.text_summary import text_summary
from robossl.evaluation.split_data import load_split


class BlurredModel(MixedModel):
    """Nearly perfect model: each step of its dynamics is 25 % too large."""

    def predict(self, z, action):
        return super().predict(z, action) + 0.25 * (super().predict(z, action) - z)


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, dict]]:
    """Model -> physics -> what was measured; the episodes with changed physics are other ones of the same system."""
    stream, others = ToyStream(), {"new": load_split(ToyStream(episodes=8, seed=9), None)}
    models = {"perfect": PerfectModel(), "blurred": BlurredModel(), "identity": IdentityModel()}
    found = {name: continual.measure_skill(model, stream, 0, others) for name, model in models.items()}
    return {name: {"old": sets["exploration"], "new": sets["new"]} for name, sets in found.items()}


def moments(measured, before="blurred", final="perfect"):
    """Return the moments of a run whose model was `before` and is `final`; its return went from 10 to 15."""
    random = np.random.default_rng(0)
    base = random.normal(10, 2, 8)
    returns = {
        "before": {"old": base + 5, "new": base},
        "final": {"old": base + 5, "new": base + 5},
        "random": {"old": base - 9, "new": base - 9},
    }
    models = {"before": measured[before], "final": measured[final], "random": {"old": {}, "new": {}}}
    return {
        name: {
            "steps": 64_000 if name == "before" else 80_000,
            **{
                physics: models[name][physics]
                | {"returns": returns[name][physics].tolist(), "successes": [0, 1] * 4}
                for physics in ("old", "new")
            },
        }
        for name in returns
    }


def curve(measured):
    """Return a curve of two points."""
    points = [("blurred", 64_000), ("blurred", 68_000), ("perfect", 80_000)]
    found = []
    for model, steps in points:
        entry = {"steps": steps}
        for physics in ("old", "new"):
            entry[physics] = continual.estimates(measured[model][physics] | {"returns": [9.0, 10.0, 12.0]}, 0)
        found.append(entry)
    return found


def test_perfect_model_has_skill_one_and_identity_model_zero(measured):
    for physics in ("old", "new"):
        skills = {name: continual.skill(entry[physics], 0) for name, entry in measured.items()}
        assert skills["perfect"]["mean"] == pytest.approx(1, abs=1e-3)
        assert skills["identity"]["mean"] == pytest.approx(0, abs=1e-3)
        assert 0.1 < skills["blurred"]["low"] < skills["blurred"]["mean"] < skills["blurred"]["high"] < 1
    assert skills["perfect"]["n"] == measured["perfect"]["new"]["forecasts"] > 100
    assert measured["perfect"]["old"]["horizon"] == 25


def test_moments_are_measured_on_the_same_forecasts(measured):
    for physics in ("old", "new"):
        baselines = [entry[physics]["no_change"] for entry in measured.values()]
        assert baselines[0] == baselines[1] == baselines[2]
    assert measured["perfect"]["old"]["no_change"] != measured["perfect"]["new"]["no_change"]


def test_model_that_does_not_change_transfers_nothing(measured):
    section = continual.compare_physics(moments(measured, "blurred", "blurred"), [], 0)
    for name in ("recovery", "backward"):
        skill = section["transfer"][name]["skill"]
        assert (skill["mean"], skill["low"], skill["high"]) == (0, 0, 0)
    assert section["transfer"]["backward"]["return"]["mean"] == 0


def test_gain_and_forgetting_have_opposite_signs(measured):
    gain = continual.compare_physics(moments(measured), [], 0)["transfer"]
    loss = continual.compare_physics(moments(measured, "perfect", "blurred"), [], 0)["transfer"]
    assert gain["backward"]["skill"]["low"] > 0 > loss["backward"]["skill"]["high"]
    assert gain["recovery"]["return"]["mean"] == pytest.approx(5)
    assert gain["forward"]["return"]["mean"] == pytest.approx(9), "beside random actions on the same episodes"
    paired = gain["recovery"]["return"]
    assert paired["high"] - paired["low"] < 1e-9, "the same episodes are compared"


def test_models_are_compared_on_each_kind_of_episodes(measured):
    first = {"steps": 48_000, "exploration": measured["blurred"]["old"], "acting": measured["blurred"]["new"]}
    last = {"steps": 64_000, "exploration": measured["perfect"]["old"], "acting": measured["perfect"]["new"]}
    section = continual.compare_models(first, last, 0)
    assert section["difference"]["acting"]["low"] > 0
    assert set(section["rows"]["final"]) == {"steps", "exploration", "acting"}
    del first["acting"]
    assert set(continual.compare_models(first, last, 0)["difference"]) == {"exploration"}


def test_short_episodes_are_refused():
    others = {"short": load_split(ToyStream(episodes=1, steps=3), None)}
    with pytest.raises(UsageError, match="too short or too few"):
        continual.measure_skill(PerfectModel(), ToyStream(), 0, others)


def test_changed_physics_are_on_the_page(measured, tmp_path):
    changed = {
        "at_step": 64_000,
        "randomization": {"link_mass": 2.0, "gravity": [0.9, 1.1], "friction": "test"},
    }
    memory = {"memory": {"first": {"steps": 52_000, "mib": 400.0}, "last": {"steps": 80_000, "mib": 410.0}}}
    section = changed | continual.compare_physics(moments(measured), curve(measured), 0) | memory
    report = report_file.build(context_with({"continual": section}))
    page.write(tmp_path, [report])
    text = (tmp_path / "report.html").read_text()
    for part in (
        "link mass 2, gravity 0.9 to 1.1, friction from the range “test”", "old physics, before the change",
        "backward transfer", "After 64,000 steps the physics changed", "410 MiB after 80,000", "success",
    ):  # fmt: skip
        assert part in text, part
    assert text.count("<svg") >= 2


def test_models_of_a_run_are_on_the_page(measured):
    first = {"steps": 48_000, "exploration": measured["perfect"]["old"]}
    section = continual.compare_models(first, {**first, "steps": 64_000}, 0)
    report = report_file.build(context_with({"continual": section}))
    assert (
        "changed from >0.999 to >0.999: 0.00 [0.00, 0.00], which is not significant"
        in text_summary(report)[-1]
    )
    assert "held-out episodes of" in page.render([report])


def test_single_evaluation_has_no_section():
    context = context_with({})
    compute_sections(context, ["continual"])
    assert "robossl learn" in context.missing["continual"]
    assert registry.load("report_sections", "continual").order == 450


def test_forecasts_of_what_never_changes_are_refused(monkeypatch) -> None:
    """A skill over a baseline without error is no number, and a report holds finite numbers only."""
    still = SimpleNamespace(
        episode=np.zeros(40, int),
        errors=lambda name: np.zeros((40, 1)),
        no_change_errors=lambda: np.zeros((40, 1)),
    )
    monkeypatch.setattr(continual, "forecast_windows", lambda *arguments: still)
    heldout = SimpleNamespace(test=SimpleNamespace(starts=lambda horizon: range(100)))
    with pytest.raises(UsageError, match="nothing that is predicted changes"):
        continual._measure_forecasts(None, heldout, None)
