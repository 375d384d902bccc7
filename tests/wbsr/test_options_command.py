"""`wbsr options` lists, prints and copies the option files that ship, and writes the schema of our blocks."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wbsr import cli
from wbsr.option_files import OptionFile, find, folder, option_files

CLONE = Path(__file__).parents[2]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run `wbsr options` in the test's folder; returns its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WBSR_DEBUG", raising=False)

    def call(*arguments):
        code = cli.main(["options", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def tree(tmp_path):
    """A folder of option files, two of which have the same last name."""
    root = tmp_path / "shipped"
    for name in ("a/one.yml", "a/two.yml", "b/one.yml", "b/c/three.yml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# About {name}.\nname: x\n", encoding="utf-8")
    return root


def test_a_clone_uses_its_own_option_files():
    assert folder() == CLONE / "options"


def test_an_installed_package_uses_those_inside_it(tmp_path):
    package = tmp_path / "wbsr"
    (package / "options").mkdir(parents=True)
    (tmp_path / "setup.py").touch()
    (tmp_path / "options").mkdir()
    assert folder(package) == package / "options"


def test_a_strangers_folder_beside_an_installed_package_is_not_taken(tmp_path):
    (tmp_path / "options").mkdir()
    with pytest.raises(FileNotFoundError, match=r"the option files .*/options are not there: install wbsr anew"):
        folder(tmp_path / "wbsr")


def test_all_are_listed_in_groups_with_what_they_are_about(run):
    code, out, _ = run()
    assert code == 0
    groups = out.split("\n\n")[:-1]
    names = {f"{group.splitlines()[0]}{line.split()[0]}.yml" for group in groups for line in group.splitlines()[1:]}
    assert names == {path.relative_to(CLONE / "options").as_posix() for path in (CLONE / "options").rglob("*.yml")}
    assert "train/RCAN/\n" in out
    assert re.search(r"\n  table1 +The paper's Table 1: dynamic inference beside its backbone and its rivals\.\n", out)


def test_listing_and_printing_are_fast_for_they_import_neither_torch_nor_yaml():
    code = "import sys; from wbsr.cli import main; main(['options']); main(['options', 'demo/train']); "
    code += "print([name for name in ('torch', 'numpy', 'yaml', 'basicsr') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("first", "about"),
    [
        ("# One sentence.", "One sentence."),
        ("# One sentence. And half of", "One sentence."),
        ("# No end of a sentence in", "No end of a sentence in …"),
    ],
)
def test_what_a_file_is_about_ends_with_a_sentence(tmp_path, first, about):
    path = tmp_path / "x.yml"
    path.write_text(f"{first}\n# another line.\nname: x\n", encoding="utf-8")
    assert OptionFile(path, "x").about() == about


@pytest.mark.parametrize(
    "name", ["WBSR_RCAN_x4", "WBSR_RCAN_x4.yml", "RCAN/WBSR_RCAN_x4", "options/train/RCAN/WBSR_RCAN_x4.yml"]
)
def test_one_is_printed_by_its_name_or_more_of_it(run, name):
    code, out, _ = run(name)
    assert code == 0
    assert out == (CLONE / "options/train/RCAN/WBSR_RCAN_x4.yml").read_text(encoding="utf-8")


def test_a_slip_in_a_name_is_told_with_what_is_near(run):
    code, out, err = run("WBSR_RCAM_x4")
    assert (code, out) == (2, "")
    assert "there is no option file 'WBSR_RCAM_x4': did you mean WBSR_RCAN_x4 or " in err
    assert "`wbsr options` lists them" in err
    assert "WBSR_SRResNet_x4" in run("WBSR_SRResNet")[2]  # part of several names
    assert "did you mean" not in run("nothing_of_that_kind")[2]


def test_a_name_of_several_files_is_told_with_all_of_them(tree):
    with pytest.raises(ValueError, match=r"'one' names 2 option files: write a/one or b/one"):
        find("one", tree)
    assert find("b/one", tree).path == tree / "b/one.yml"
    assert find("three", tree).name == "b/c/three"


def test_one_is_copied_into_the_folder_itself(run, tmp_path):
    code, out, _ = run("demo/train", "--copy", "mine/new")
    assert code == 0
    assert out == "mine/new/train.yml\n"
    assert (tmp_path / out.strip()).read_bytes() == (CLONE / "options/demo/train.yml").read_bytes()


def test_all_are_copied_to_where_their_comments_say(run, tmp_path):
    assert run("--copy", "options")[0] == 0
    copied = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.yml")}
    assert copied == {f"options/{file.name}.yml": file.path.read_bytes() for file in option_files()}


def test_nothing_is_overwritten_unasked(run, tmp_path):
    mine = tmp_path / "options/demo/train.yml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    code, _, err = run("--copy", "options")
    assert code == 2
    assert "options/demo/train.yml is there already: give --overwrite to replace" in err
    assert list(tmp_path.rglob("*.yml")) == [mine]  # nor is anything copied
    assert mine.read_text(encoding="utf-8") == "mine"
    assert run("--copy", "options", "--overwrite")[0] == 0
    assert "name: demo" in mine.read_text(encoding="utf-8")
    assert "is there already (and " in run("--copy", "options")[2]


def test_the_schema_is_written_to_a_file_and_the_line_for_editors_told(run, tmp_path):
    code, out, _ = run("--schema", "wbsr.schema.json")
    assert code == 0
    assert "# yaml-language-server: $schema=wbsr.schema.json" in out
    blocks = json.loads((tmp_path / "wbsr.schema.json").read_text(encoding="utf-8"))["properties"]
    assert set(blocks) == {"network_g", "datasets", "train", "val"}
    assert "wbsr.schema.json is there already: give --overwrite" in run("--schema", "wbsr.schema.json")[2]
    assert json.loads(run("--schema")[1])["properties"] == blocks


def test_the_line_for_editors_is_a_comment_to_yaml():
    assert yaml.safe_load("# yaml-language-server: $schema=wbsr.schema.json\nname: x\n") == {"name": "x"}


def test_the_schema_stands_alone(run, capsys):
    with pytest.raises(SystemExit):
        run("demo/train", "--schema", "x.json")
    assert "--schema stands alone" in capsys.readouterr().err
