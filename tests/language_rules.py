"""The words the project does not use, with the term to use instead: `python tests/language_rules.py [PATH ...]`.

The table follows docs/glossary.md. A word is looked for in names (identifiers and file names), in prose
(docstrings, comments, messages) and on pages (Markdown).
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SCANNED = ("robossl", "envs", "agents", "tests", "benchmarks", "examples", "docs", "assets")
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "pyproject.toml")
SUFFIXES = {".py", ".md", ".xml", ".html", ".j2", ".toml", ""}
NOT_SCANNED = {  # they name the old words on purpose
    "tests/language_rules.py",
    "tests/test_language.py",
    "docs/glossary.md",
    "CHANGELOG.md",
}


# Paths about the mazes, whose rooms are meant.
ROOMS = (
    "(pointmaze|environments|test_planar_objects|references|gallery|negative-results|assets|README|world-model"
    "|planner|goal|two_room|docs/control)"
)


class Gone(NamedTuple):
    """A word that is gone."""

    pattern: str  # of whole words, case ignored
    use: str  # the term to use
    allowed: str = r"(?!)"  # paths in which the word means something else
    beside: str = r"(?!)"  # a word in the same file with which it means something else


GONE = (
    Gone(
        r"lanes?",
        "sub-environment (num_envs, env_index, env_ids)",
        beside=r"[Ss]tream|window",  # streams have lanes
    ),
    Gone(r"(?<!half[- _])life|lives|lived|outlives?", "episode, trajectory, recorded, step"),
    Gone(r"wish(es|ed)?", "goal, target"),
    Gone(r"minds?", "agent"),
    Gone(r"(?<!\")dream(s|ed|t|ing)?(?!\")", "imagined rollout, imagine"),
    Gone(r"pictures?", "image (observation), frame (render), video"),
    Gone(r"films?", "video"),
    Gone(r"doubt(s|ed|ful)?", "uncertainty"),
    Gone(r"fore(told|tells?|seen|sees?|sight)", "predicted", r"^benchmarks/references/mpc"),  # name of a seed
    Gone(r"onlookers?", "detached forward"),
    Gone(r"stands? apart|set apart", "detached head"),
    Gone(r"blind guess(es)?", "constant baseline"),
    Gone(
        r"trunk",
        "core packages",
        r"^(envs|assets|tests/envs|benchmarks/references|docs/environments)|world_model",
    ),
    Gone(r"house", "package layout"),
    Gone(
        r"rooms?",
        "subpackage",
        ROOMS,
    ),
    Gone(r"mend(s|ed|ing)?", "fix"),
    Gone(r"strangers?'?|foreign", "third-party"),
    Gone(r"adopt(s|ed|ing)?", "set_representation, switch to"),
    Gone(r"touched", "reached"),
    Gone(r"do nothing|does nothing|doing nothing", "zero action, no effect"),
    Gone(r"tells?|telling|told", "return, show, report, state (code does not tell)"),
    Gone(r"says?|said|saying", "state, print, report (code does not say)"),
    Gone(r"believes?d?|believing", "valid for, assume"),
    Gone(r"wants?|wanted", "expect, need, require"),
    Gone(r"asks?|asked|asking", "request, call, query"),
    Gone(r"whoever|whatever|nobody|somebody|anybody", "name the code element or the user"),
    Gone(r"(?<!1 )pink(?! noise)", "colored_noise"),
    Gone(r"coloured?|colours?", "colored, color"),
    Gone(r"rehears(e|al|es|ed)", "dry run, validate"),
    Gone(r"mishaps?", "physics error"),
    Gone(r"wardrobe", "visual randomizer"),
    Gone(r"verbs?", "command"),
)
_GONE = tuple(
    (re.compile(rf"(?<![A-Za-z])(?:{gone.pattern})(?![A-Za-z])", re.IGNORECASE), gone) for gone in GONE
)
# The bytes of an embedded video or picture spell words by chance.
_EMBEDDED = re.compile(r"(?<=;base64,)[A-Za-z0-9+/=]+")
_IN_NAME = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def words_of(name: str) -> str:
    """`old_name` and `OldName` as separate words."""
    return " ".join(_IN_NAME.findall(name))


def scan_text(path: str, text: str) -> Iterator[str]:
    """Each use of a word that is gone: `path:line: word -> term`."""
    rules = [
        (rx, gone)
        for rx, gone in _GONE
        if not re.search(gone.allowed, path) and not re.search(gone.beside, text)
    ]
    for line, piece in _pieces(path, text):
        for rx, gone in rules:
            for found in rx.finditer(piece):
                yield f"{path}:{line}: {found.group()!r} -> {gone.use}"


def _pieces(path: str, text: str) -> Iterator[tuple[int, str]]:
    """The names and the prose of a file, with their lines."""
    yield 1, words_of(Path(path).stem)
    if not path.endswith(".py"):
        yield from enumerate(_EMBEDDED.sub("", text).splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], words_of(token.string)
        elif token.type in (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line.replace("_", " ")


def files(paths: list[str]) -> Iterator[Path]:
    """The source files and pages below `paths`."""
    for given in paths:
        path = ROOT / given
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            name = file.relative_to(ROOT).as_posix()
            if (
                file.suffix in SUFFIXES
                and file.is_file()
                and name not in NOT_SCANNED
                and "__pycache__" not in name
            ):
                yield file


def scan(paths: list[str]) -> list[str]:
    """Every use of a word that is gone below `paths`, relative to the project's root."""
    found: list[str] = []
    for file in files(paths):
        relative = file.relative_to(ROOT).as_posix()
        found += scan_text(relative, file.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    uses = scan(sys.argv[1:] or [*(p for p in (*SCANNED, *PAGES) if (ROOT / p).exists())])
    print("\n".join([*uses, f"{len(uses)} uses of words that are gone"]))
    sys.exit(bool(uses))
