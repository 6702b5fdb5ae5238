"""field_comments: the sentence beside or above a field; every setting of robossl has one."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field, make_dataclass

from robossl.cli.config import settings_help
from robossl.core.field_comments import field_comments
from robossl.training.config import LearnConfig
from robossl.training.config_io import field_descriptions, flatten_fields


@dataclass
class Settings:
    """An example."""

    a: int = 1  # beside it
    # in two lines
    # above it
    b: str = "# no comment"
    c: int = 3
    d: list[int] = field(default_factory=list)  # after a call
    LIMIT = 5  # no field

    def method(self) -> int:  # no field either
        return self.a


def test_comments_beside_above_and_after_a_field_are_its_own():
    assert field_comments(Settings) == {"a": "beside it", "b": "in two lines above it", "d": "after a call"}


def test_class_without_source_has_none():
    assert field_comments(make_dataclass("Made", ["x"])) == {}


def test_every_setting_has_a_sentence_in_help():
    descriptions = field_descriptions(LearnConfig)
    assert set(descriptions) == set(flatten_fields(LearnConfig))
    help_text = " ".join(settings_help([""]).split())
    for name, text in descriptions.items():
        assert len(text.split()) >= 2, name
        assert " ".join(textwrap.wrap(text)) in help_text, name
