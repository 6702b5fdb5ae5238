"""Names, prose and pages use the terms of docs/glossary.md."""

from __future__ import annotations

import pytest
from language_rules import GONE, PAGES, ROOT, SCANNED, scan, scan_text, words_of


def test_no_removed_word_in_names_prose_or_pages():
    uses = scan([path for path in (*SCANNED, *PAGES) if (ROOT / path).exists()])
    assert not uses, "\n".join([f"{len(uses)} uses of words that are gone", *uses[:40]])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('"""Return the wished pose."""\n', 1),
        ("def dream_video():\n    pass\n", 1),
        ("class DreamEnv:\n    pass\n", 1),
        ("x = f'{y} lanes of {z}'\n", 1),
        ("# the picture of a lane\n", 2),
        ("plane = alive = remind = amended = 1\n", 0),
        ("planes, believable = 1, 2\n", 0),
    ],
)
def test_scanner_finds_removed_words_in_code(text: str, count: int):
    assert len(list(scan_text("robossl/core/a.py", text))) == count


def test_scanner_finds_removed_words_on_pages_and_in_file_names():
    assert len(list(scan_text("docs/a.md", "The lane lives.\n"))) == 2
    assert len(list(scan_text("robossl/lab/dream_speed.py", "x = 1\n"))) == 1


def test_bytes_of_an_embedded_video_are_no_prose():
    page = '<video src="data:video/mp4;base64,/9j/4AAQ+lane/lane="> {}'
    assert not list(scan_text("docs/a.html", page.format("the stream")))
    assert len(list(scan_text("docs/a.html", page.format("the lane")))) == 1


def test_lane_is_a_term_of_streams_only():
    assert not list(scan_text("robossl/training/a.py", "lane = stream.lanes[0]\n"))
    assert list(scan_text("robossl/training/a.py", "lane = envs.lanes[0]\n"))


@pytest.mark.parametrize(
    ("name", "words"), [("DreamEnv", "Dream Env"), ("num_envs", "num envs"), ("MLPHead", "MLP Head")]
)
def test_names_are_split_into_words(name: str, words: str):
    assert words_of(name) == words


def test_every_removed_word_names_its_replacement():
    assert all(gone.use for gone in GONE)
