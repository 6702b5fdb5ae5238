"""Git revision: the same commit as git reports, and no program that a configuration names is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from robossl.core.git_revision import git_revision
from robossl.core.system_info import system_info


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run git in a folder with two commits."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))

    def run(*args: str, folder: Path = tmp_path / "w") -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *args]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "w/below/deep").mkdir(parents=True)
    run("init", "-q")
    for text in ("one", "two"):
        (tmp_path / "w/file").write_text(text)
        (tmp_path / "w/below/other.bin").write_bytes(text.encode() * 1000)
        run("add", ".")
        run("commit", "-q", "-m", text)
    return run


def test_revision_is_the_commit_that_git_reports(git, tmp_path) -> None:
    root, commit = tmp_path / "w", git("rev-parse", "HEAD")
    assert git_revision(root) == git_revision(root / "below/deep") == commit
    assert git_revision(root / "below", upwards=False) is None
    git("pack-refs", "--all")
    assert git_revision(root) == commit
    git("checkout", "-q", "HEAD~1")
    assert git_revision(root) == git("rev-parse", "HEAD") != commit
    git("worktree", "add", "-q", str(tmp_path / "linked"), commit)
    git("checkout", "-q", "-b", "topic/1", folder=tmp_path / "linked")
    assert git_revision(tmp_path / "linked") == commit


def test_changes_are_those_of_tracked_content(git, tmp_path) -> None:
    root, commit = tmp_path / "w", git("rev-parse", "HEAD")
    (root / "untracked").write_text("x")
    os.utime(root / "file")  # another time, the same content
    assert git_revision(root) == commit
    (root / "file").write_text("owt")
    assert git_revision(root) == f"{commit}+changes"
    (root / "file").write_text("two")
    (root / "below/other.bin").unlink()
    assert git_revision(root) == f"{commit}+changes"


@pytest.mark.parametrize("damage", ["HEAD", "index", "packed-refs", "fifo", "link", "none"])
def test_damaged_repository_is_no_error(damage, git, tmp_path) -> None:
    repository = tmp_path / "w/.git"
    if damage == "fifo":
        (repository / "HEAD").unlink()
        os.mkfifo(repository / "HEAD")
    elif damage == "link":
        (repository / "HEAD").unlink()
        (repository / "HEAD").symlink_to("/dev/zero")
    elif damage == "none":
        shutil.rmtree(repository)
    else:
        (repository / damage).write_bytes(b"DIRC\0\0\0\2\xff\xff\xff\xff" + bytes(range(256)))
    revision = git_revision(tmp_path / "w")
    assert revision is None or len(revision.partition("+")[0]) == 40


CONFIGURATIONS = {
    "fsmonitor": "[core]\n fsmonitor = {program}; false\n",
    "hooks": "[core]\n hooksPath = {folder}/hooks\n",
    "filter": '[filter "x"]\n clean = {program}\n smudge = {program}\n process = {program}\n required = true\n',
    "textconv": '[diff "x"]\n textconv = {program}\n command = {program}\n[diff]\n external = {program}\n',
    "alias": "[alias]\n status = !{program}\n rev-parse = !{program}\n",
    "pager": "[core]\n pager = {program}\n[pager]\n status = {program}\n rev-parse = {program}\n",
    "ssh": "[core]\n sshCommand = {program}\n gitProxy = {program}\n editor = {program}\n askPass = {program}\n",
    "include": "[include]\n path = {folder}/included\n",
    "program on the path": "",
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_configuration_of_the_working_folder_starts_no_program(kind, git, tmp_path, monkeypatch) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/RAN\ncat\n")
    program.chmod(0o755)
    root = tmp_path / "w"
    (root / "git").write_text(program.read_text())
    (root / "git").chmod(0o755)
    (tmp_path / "hooks").mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction", "post-checkout"):
        shutil.copy(program, tmp_path / "hooks" / hook)
        shutil.copy(program, root / ".git/hooks" / hook)
    values = {"program": str(program), "folder": str(tmp_path)}
    (tmp_path / "included").write_text(CONFIGURATIONS["fsmonitor"].format(**values))
    with open(root / ".git/config", "a", encoding="utf-8") as config:
        config.write(CONFIGURATIONS[kind].format(**values))
    (root / ".gitattributes").write_text("* filter=x diff=x\n")
    for folder in (".git/info", "."):
        (root / folder).mkdir(exist_ok=True)
    (root / ".git/info/attributes").write_text("* filter=x diff=x\n")
    (root / "file").write_text("zwei")
    monkeypatch.chdir(root)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(root / ".git/config"))
    assert system_info()["git"]["folder"].endswith("+changes")
    assert not (tmp_path / "RAN").exists()
