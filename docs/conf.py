"""Sphinx configuration of the documentation: `make docs` builds it, with warnings as errors."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
sys.path.insert(0, str(ROOT / "docs"))

import site_pages  # noqa: E402

# Cells of the tutorials run the command `robossl` of this Python.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

project = "robossl"
author = "the robossl authors"
copyright = "the robossl authors, MIT license"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["robots.png", "imagination.png"]
html_theme = "furo"
html_title = "robossl"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(site_pages.execution_cache(ROOT))
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autoclass_content = "both"  # the arguments are documented in constructors
autodoc_mock_imports: list[str] = []
napoleon_use_rtype = False
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type"]

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+)([^)#\s]*)(#[^)]*)?\)")
_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def _link_inside(app: object, docname: str, source: list[str]) -> None:
    """Point links of a page to files outside of docs/ at their page on the site, or name the file."""
    depth = docname.count("/")

    def replace(match: re.Match[str]) -> str:
        text, ups, path, anchor = match[1], match[2].count("../"), match[3], match[4] or ""
        if ups <= depth:  # inside docs/
            return match[0]
        inside = path.removeprefix("docs/") if path.startswith("docs/") else None
        page = inside or _PAGES.get(path)
        if page is not None:
            return f"[{text}]({'../' * depth}{page}{anchor if inside else ''})"
        return f"{text} (`{path}`)" if text.strip("`/") != path.rstrip("/") else f"`{text.strip('`')}`"

    source[0] = _OUTSIDE.sub(replace, source[0])


def _literal(app: object, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Show examples in docstrings as code, and the star of shapes (n, *A) as it is."""
    if "Example:" in lines:
        i = lines.index("Example:")
        lines[i : i + 1] = ["Example::", ""]
    for i, line in enumerate(lines):
        if line == "Example::":
            continue
        if not line.startswith("    "):
            lines[i] = re.sub(r"(`[^`]*`)|\*", lambda match: match[1] or "\\*", line)


def _write_pages(app: object) -> None:
    site_pages.write(Path(__file__).parent)


def setup(app: object) -> None:
    """Generate the reference pages before the build."""
    app.connect("builder-inited", _write_pages)  # type: ignore[attr-defined]
    app.connect("source-read", _link_inside)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", _literal, priority=400)  # type: ignore[attr-defined]
