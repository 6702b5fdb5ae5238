"""Type checkers of other projects find robossl: py.typed in a wheel, links to the sources in an editable install."""

from __future__ import annotations

import subprocess
import sys

from source_rules import ROOT, read_modules


def test_every_module_is_linked_for_type_checkers(tmp_path):
    subprocess.run([sys.executable, ROOT / ".ci" / "link_types.py", tmp_path], check=True)
    stubs = tmp_path / "robossl-stubs"
    links = {path.relative_to(stubs).with_suffix("") for path in stubs.rglob("*.pyi")}
    names = {".".join(("robossl", *link.parts)).removesuffix(".__init__") for link in links}
    assert names == {module.name for module in read_modules()}
    assert all(path.resolve().is_file() for path in stubs.rglob("*.pyi"))


def test_package_is_marked_as_typed():
    assert (ROOT / "robossl" / "py.typed").is_file()
