"""What YAML loses of an option file's text is told with its line."""

import pytest
import yaml

from wbsr import compat
from wbsr.checks.source import override, read_options, yaml_number


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "options.yml"
        path.write_text(text, encoding="utf-8")
        return read_options(path)

    return run


def test_a_correct_file_is_read(read):
    assert read("name: x\ntrain: {lr: 2.0e-4, betas: [0.9, 0.99], note: '2e-4'}\n") == {
        "name": "x",
        "train": {"lr": 2e-4, "betas": [0.9, 0.99], "note": "2e-4"},
    }


def test_equal_keys_are_told_with_both_lines(read):
    with pytest.raises(ValueError, match=r"line 4: the key train:lr stands in line 2 already"):
        read("train:\n  lr: 1.0\n  beta: 2\n  lr: 3.0\n")
    assert read("a: {x: 1}\nb: {x: 2}\n")["b"]["x"] == 2  # equal keys of two blocks are two keys


@pytest.mark.parametrize(("text", "better"), [("2e-4", "2.0e-4"), ("1e5", r"1.0e\+5"), ("1.5e3", r"1.5e\+3")])
def test_numbers_that_yaml_takes_for_text(read, text, better):
    with pytest.raises(ValueError, match=rf"line 3: YAML reads train:optim_g:lr: {text} as text: write {better},"):
        read(f"train:\n  optim_g:\n    lr: {text}\n")
    with pytest.raises(ValueError, match=f"YAML reads betas: {text} as text"):
        read(f"betas: [0.9, {text}]\n")


@pytest.mark.parametrize("text", ["2e-4", "-1e-7", "5e3", "12345.678e9"])
def test_the_number_to_write_is_the_same_number_to_yaml(text):
    assert yaml.safe_load(yaml_number(text)) == float(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must hold a block of keys"),
        ("", "must hold a block of keys"),
        ("a: [1, 2\n", "is no valid YAML"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "line 3: BasicSR doesn't merge blocks"),
        ("a: &a {b: *a}\n", "nested too deeply, or refers to itself"),
        ("a: 2020-13-45\n", "is no valid YAML: month must be"),
        ("a: !!python/object:os.system x\n", "is no valid YAML"),
    ],
)
def test_files_that_hold_no_options(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_a_missing_file_is_named_with_the_current_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"option file .*none\.yml does not exist \(the current folder is /"):
        read_options(tmp_path / "none.yml")


def test_force_yml_overrides_as_basicsr_does():
    compat.install()
    before = {"name": "x", "train": {"optim_g": {"lr": 1.0}}}
    after = override(before, ["train:optim_g:lr=!!float 2e-4", "train:ema_decay=0.9", "name=y"])
    assert after == {"name": "y", "train": {"optim_g": {"lr": 2e-4}, "ema_decay": 0.9}}
    assert before == {"name": "x", "train": {"optim_g": {"lr": 1.0}}}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("trian:lr=1", "there is no block 'trian': did you mean 'train'"),
        ("train:lr", "takes entries such as train:ema_decay=0.999, got 'train:lr'"),
        ("train:lr=2e-4", "BasicSR reads 2e-4 as text: write 'train:lr=!!float 2e-4'"),
        ("train:lr=-1", "BasicSR reads -1 as text"),
    ],
)
def test_force_yml_entries_that_would_not_do_what_they_say(entry, message):
    compat.install()
    with pytest.raises(ValueError, match=message):
        override({"train": {"lr": 1}}, [entry])
