"""Comments beside the fields of a dataclass: the sentence that `--help` and the pages print for each setting."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from functools import cache


@cache
def field_comments(config: type) -> dict[str, str]:
    """Return the comment of each field of a dataclass by name, from its source: beside it, or in the lines above it.

    Fields without a comment, and classes whose source is not available, have none.
    """
    try:
        source = textwrap.dedent(inspect.getsource(config))
    except (OSError, TypeError):
        return {}
    comments = _comments(source)
    found = {}
    names = {field.name for field in dataclasses.fields(config)}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if (
            not isinstance(node, ast.AnnAssign)
            or not isinstance(node.target, ast.Name)
            or node.target.id not in names
        ):
            continue
        lines = [i for i in range(node.lineno, (node.end_lineno or node.lineno) + 1) if i in comments]
        if not lines:
            above = node.lineno - 1
            while comments.get(above, ("", False))[1]:
                lines.insert(0, above)
                above -= 1
        if lines:
            found[node.target.id] = " ".join(comments[i][0] for i in lines)
    return found


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Return the comments of a source by line: the text, and whether it has a line of its own."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            own_line = not token.line[: token.start[1]].strip()
            found[token.start[0]] = (
                token.string.lstrip("# ").split("  # ")[0].split("# noqa")[0].strip(),
                own_line,
            )
    return found
