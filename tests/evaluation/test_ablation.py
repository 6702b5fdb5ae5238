"""Ablation: which variants there are, the metrics of each, and their table on the page."""

import numpy as np
import pytest
from evaluation_reports import complete_report
from evaluation_toys import ConstantModel, IdentityModel, PerfectModel, ToyStream

from robossl.core.statistics import proportion_ci
from robossl.evaluation.ablation import evaluate_variant, variants
from robossl.evaluation.goal_reaching import CRITERIA
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.report import page

OWN = ("forward", "inverse", "reconstruction", "error_prediction")


def test_variants_of_the_default_objectives():
    rows = variants(OWN)
    assert list(rows) == [
        "own", "forward", "inverse", "sigreg",
        "without_forward", "without_inverse", "without_reconstruction", "untrained",
    ]  # fmt: skip
    assert rows["own"] == rows["untrained"] == OWN
    assert rows["inverse"] == ("inverse", "forward_detached")  # planning needs a trained predictor
    assert rows["without_forward"] == ("inverse", "reconstruction", "error_prediction", "forward_detached")
    assert rows["without_reconstruction"] == ("forward", "inverse", "error_prediction")
    # without_inverse would be equal to the variant "forward"
    assert "without_inverse" not in variants(("forward", "inverse", "error_prediction"))


def test_no_variant_repeats_another_and_weights_are_kept():
    rows = variants(("forward", "inverse:10", "reconstruction"), images_only=True)
    assert list(rows) == ["own", "forward", "inverse", "sigreg", "untrained"]
    assert rows["own"] == ("forward", "inverse:10")
    assert list(variants(("forward", "sigreg"))) == [
        "own",
        "forward",
        "inverse",
        "without_forward",
        "untrained",
    ]


@pytest.fixture(scope="module")
def rows():
    stream = ToyStream()
    models = {"perfect": PerfectModel(), "identity": IdentityModel(), "constant": ConstantModel()}
    return {name: evaluate_variant(model, load_heldout(model, stream)) for name, model in models.items()}


def test_each_metric_detects_its_defect(rows):
    assert rows["perfect"]["prediction_skill"]["25"]["mean"] > 0.99
    assert rows["perfect"]["probe_worst_r2"] > 0.99
    assert rows["perfect"]["inverse_r2"]["mean"] > 0.9
    assert rows["identity"]["inverse_r2"] == rows["perfect"]["inverse_r2"]  # by a regressor of its own
    assert rows["identity"]["prediction_skill"]["25"]["mean"] == 0
    assert rows["constant"]["effective_rank"] == 1
    assert abs(rows["constant"]["inverse_r2"]["mean"]) < 0.05


def test_page_has_a_table_of_variants_only_with_an_ablation(rows):
    report = complete_report()
    assert "Ablation of objectives" not in page.render([report])
    variant_rows = {name: {"objectives": ["forward"], **row} for name, row in rows.items()}
    variant_rows["random"] = {"goal_reaching": {name: proportion_ci(3, 40) for name in CRITERIA}}
    report["ablation"] = {"updates": 200, "horizon": 25, "trials": 40, "rows": variant_rows}
    text = page.render([report])
    assert "Ablation of objectives" in text
    assert "40 pairs for all rows, 25 steps away" in text
    assert f"{np.round(rows['perfect']['effective_rank'], 1):g}" in text
