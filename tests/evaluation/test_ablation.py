"""Rows that differ in their objectives alone: which there are, what is said of each, and that it is on the page."""

import numpy as np
import pytest
from evaluation_reports import whole
from evaluation_toys import ConstantModel, PerfectModel, StillModel, ToyStream

from robossl.core.statistics import proportion_ci
from robossl.evaluation.ablation import evaluate_variant, variants
from robossl.evaluation.heldout import load_heldout
from robossl.evaluation.report import page

OWN = ("forward", "inverse", "reconstruction", "error_prediction")


def test_the_rows_of_the_default():
    rows = variants(OWN)
    assert list(rows) == [
        "own", "forward", "inverse", "sigreg", "without_forward", "without_inverse", "without_reconstruction", "untrained",
    ]  # fmt: skip
    assert rows["own"] == rows["untrained"] == OWN
    assert rows["inverse"] == ("inverse", "forward_detached")  # somebody has to predict, or nothing could be planned
    assert rows["without_forward"] == ("inverse", "reconstruction", "error_prediction", "forward_detached")
    assert rows["without_reconstruction"] == ("forward", "inverse", "error_prediction")
    assert "without_inverse" not in variants(("forward", "inverse", "error_prediction"))  # the row "forward" is that


def test_no_row_repeats_another_and_weights_are_kept():
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
    made = {"perfect": PerfectModel(), "still": StillModel(), "constant": ConstantModel()}
    return {name: evaluate_variant(model, load_heldout(model, stream)) for name, model in made.items()}


def test_each_figure_tells_what_a_row_lacks(rows):
    assert rows["perfect"]["forward_skill"]["25"]["mean"] > 0.99
    assert rows["perfect"]["probe_worst_r2"] > 0.99
    assert rows["perfect"]["inverse_r2"]["mean"] > 0.9
    assert rows["still"]["inverse_r2"] == rows["perfect"]["inverse_r2"]  # read by a network of its own
    assert rows["still"]["forward_skill"]["25"]["mean"] == 0
    assert rows["constant"]["effective_rank"] == 1
    assert abs(rows["constant"]["inverse_r2"]["mean"]) < 0.05


def test_the_page_has_a_table_of_them_and_none_without(rows):
    report = whole()
    assert "What each objective brings" not in page.render([report])
    found = {name: {"objectives": ["forward"], **row} for name, row in rows.items()}
    found["random"] = {"goals": {name: proportion_ci(3, 40) for name in ("any", "final", "held")}}
    report["ablation"] = {"updates": 200, "offset": 25, "pairs": 40, "rows": found}
    text = page.render([report])
    assert "What each objective brings" in text
    assert "40 pairs for all, 25 steps away" in text
    assert f"{np.round(rows['perfect']['effective_rank'], 1):g}" in text
