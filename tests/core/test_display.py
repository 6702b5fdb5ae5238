"""Display: one line, escaped HTML, DataFrames."""

from __future__ import annotations

import sys

import pytest

from robossl.core import display
from robossl.core.errors import UsageError


def test_one_line_leaves_out_what_is_missing_and_escapes_control_characters():
    assert display.one_line("Run", None, "", "a\x1b[31m", 3) == "Run(a\\x1b[31m, 3)"


def test_html_of_text_from_a_file_holds_no_tags_of_it():
    html = display.html_table("<script>", [("<b>", "&")], ("<i>", "value"))
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "&amp;" in html


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1000, "1.0 kB"), (3_240_000, "3.2 MB"), (5e9, "5.0 GB")]
)
def test_byte_size_has_the_largest_unit(size, text):
    assert display.byte_size(size) == text


def test_plural_of_one_has_no_s():
    assert [display.plural(n, "step") for n in (0, 1, 2000)] == ["0 steps", "1 step", "2,000 steps"]


def test_a_script_is_no_notebook():
    assert not display.in_notebook()


def test_dataframe_has_the_columns():
    frame = display.dataframe({"step": [0, 1], "value": [2.0, None]})
    assert list(frame.columns) == ["step", "value"]
    assert frame["value"].isna().tolist() == [False, True]


def test_dataframe_without_pandas_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"robossl\[notebook\]"):
        display.dataframe({})


@pytest.mark.parametrize("text", ["short", "a_b" * 40, "x" * 90, "one two three four five six", ""])
@pytest.mark.parametrize("lines", [1, 2])
def test_fitted_text_has_its_size_and_both_ends(text, lines):
    shown = display.fitted(text, 12, lines)
    assert len(shown.splitlines()) <= lines
    assert all(len(line) <= 12 for line in shown.splitlines())
    assert ("…" in shown) == (len(text) > 12 * lines or (lines == 1 and len(text) > 12) or "three" in text)
    assert shown[:3] == text[:3]
    assert shown[-3:] == text[-3:]
