"""Dataclasses as option blocks and as command-line arguments, and what their docstrings say of each field."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

import pytest

from wbsr_base.options import add_arguments, from_arguments, help_of, parse


@dataclass(frozen=True)
class Settings:
    """How to run.

    Args:
        form: `plain` or `fancy`; a name, and a
            longer text: of 100 %.
        halo: pixels around a tile.
        memory_mb: how much it may take; None is all.
        weights: of the classes.
        shape, order: two that go together.
        fast: give up on quality.
        cache: keep what was made.
        threads: `auto`, or a number.

    Words after the section, such as: these.

    Raises:
        ValueError: a halo below 0.
    """

    form: Literal["plain", "fancy"] = "plain"
    halo: int = 4
    memory_mb: float | None = None
    weights: tuple[float, ...] = (1.0, 0.5)
    shape: Literal[2, 4] = 2
    order: str = "y"
    fast: bool = False
    cache: bool = True
    threads: Literal["auto"] | int = "auto"

    def __post_init__(self) -> None:
        if self.halo < 0:
            raise ValueError(f"halo must be at least 0, got {self.halo}")


@dataclass(frozen=True)
class Named(Settings):
    """Settings with a name.

    Args:
        name: what to call them.
        halo: another text.
    """

    name: str = "x"


@dataclass(frozen=True)
class Needed:
    """Two fields without defaults, and one that no text stands for."""

    width: int
    deep: bool
    block: dict | None = None


@pytest.fixture
def read():
    def run(arguments, cls=Settings, **more):
        parser = argparse.ArgumentParser(prog="probe")
        add_arguments(parser.add_argument_group("settings"), cls, **more)
        return from_arguments(cls, parser.parse_args(arguments))

    return run


def help_text(cls=Settings, **more):
    parser = argparse.ArgumentParser(prog="probe")
    add_arguments(parser, cls, **more)
    return " ".join(parser.format_help().split())


def test_the_text_of_each_field_is_one_line():
    assert help_of(Settings) == {
        "form": "`plain` or `fancy`; a name, and a longer text: of 100 %.",
        "halo": "pixels around a tile.",
        "memory_mb": "how much it may take; None is all.",
        "weights": "of the classes.",
        "shape": "two that go together.",
        "order": "two that go together.",
        "fast": "give up on quality.",
        "cache": "keep what was made.",
        "threads": "`auto`, or a number.",
    }


def test_a_class_says_more_than_its_base_and_may_say_it_anew():
    assert help_of(Named) == {**help_of(Settings), "name": "what to call them.", "halo": "another text."}


def test_a_docstring_without_arguments_helps_nobody():
    assert help_of(Needed) == {}


def test_no_arguments_are_the_defaults(read):
    assert read([]) == Settings()


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["--form", "fancy", "--halo", "7"], {"form": "fancy", "halo": 7}),
        (["--memory-mb", "1e3"], {"memory_mb": 1000.0}),
        (["--weights", "1", "2.5"], {"weights": (1.0, 2.5)}),
        (["--shape", "4"], {"shape": 4}),
        (["--fast", "--no-cache"], {"fast": True, "cache": False}),
        (["--threads", "3"], {"threads": 3}),
        (["--threads", "auto"], {"threads": "auto"}),
    ],
)
def test_arguments_become_the_fields(read, arguments, fields):
    assert read(arguments) == Settings(**fields)


def test_a_flag_may_be_called_otherwise(read):
    assert read(["--margin", "7"], flags={"halo": "--margin"}) == Settings(halo=7)


def test_a_field_that_is_left_out_has_its_default(read):
    assert read(["--form", "fancy"], leave_out=["halo"]) == Settings(form="fancy")
    assert "--halo" not in help_text(leave_out=["halo"])


def test_fields_without_defaults_are_asked_for_and_switches_are_off(read, capsys):
    assert read(["--width", "3"], Needed, leave_out=["block"]) == Needed(3, False)
    with pytest.raises(SystemExit):
        read([], Needed, leave_out=["block"])
    assert "required: --width" in capsys.readouterr().err


def test_the_help_has_texts_and_defaults():
    text = help_text()
    assert "--form {plain,fancy} `plain` or `fancy`; a name, and a longer text: of 100 %. (default: plain)" in text
    assert "how much it may take; None is all. --weights" in text  # no default to tell
    assert "of the classes. (default: 1.0 0.5)" in text
    assert "--fast give up on quality. --no-cache keep what was made. (default: on; this turns it off)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--halo", "much"], "argument --halo: must be a whole number, got 'much'"),
        (["--form", "fanci"], "argument --form: must be plain, fancy, got 'fanci'"),
        (["--threads", "all"], "argument --threads: must be auto or a whole number, got 'all'"),
        (["--weights", "1", "x"], "argument --weights: must be a number, got 'x'"),
    ],
)
def test_a_value_of_another_type_is_a_usage_error(read, capsys, arguments, message):
    with pytest.raises(SystemExit):
        read(arguments)
    assert message in capsys.readouterr().err


def test_a_value_that_breaks_a_rule_is_the_dataclasss_error(read):
    with pytest.raises(ValueError, match="halo must be at least 0, got -1"):
        read(["--halo", "-1"])


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({}, TypeError, r"Needed.block can't be read from a command line, for its type .*dict.*: leave it out"),
        ({"leave_out": ["blok"]}, ValueError, "Needed has no field 'blok': did you mean 'block'"),
        ({"flags": {"widht": "-w"}}, ValueError, "Needed has no field 'widht': did you mean 'width'"),
    ],
)
def test_fields_that_can_be_no_arguments(read, more, error, message):
    with pytest.raises(error, match=message):
        read([], Needed, **more)


def test_what_yaml_delivers_becomes_the_same_object():
    block = {"form": "fancy", "weights": [1, 2], "memory_mb": 5}
    assert parse(Settings, block, "here") == Settings(form="fancy", weights=(1.0, 2.0), memory_mb=5.0)
