"""`wbsr results`: tables from what `wbsr test` wrote, beside the paper's figures."""

import json
import re

import pytest

from wbsr import cli
from wbsr_lab.results.paper import SETS, published, routed

METRICS = {
    "psnr_y": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True},
    "psnr_rgb": {"type": "calculate_psnr", "crop_border": 4},
    "ssim_y": {"type": "calculate_ssim", "crop_border": 4, "test_y_channel": True},
}


def row(name, psnr, share, milliseconds=10.0, **more):
    metrics = {"psnr_y": psnr, "psnr_rgb": psnr - 2, "ssim_y": psnr / 40}
    costs = {"cost_share": share, "flops_share": share, "flops_share_run": 1.1 * share, "milliseconds": milliseconds}
    return {"name": name, **metrics, **costs, **more}


@pytest.fixture
def write(tmp_path):
    def save(name="Set5", **changes):
        content = {
            "test": "tested",
            "set": name,
            "images": 5,
            "scale": 4,
            "network": {"backbone": {"type": "MSRResNet", "num_feat": 32}, "widths": [16, 32], "depths": [2, 4]},
            "weights": "wbsr/weights/small_x4.pth",
            "metrics": METRICS,
            "device": "cpu",
            "threads": 2,
            "torch": "2.9",
            "rows": [
                row("paper", 31.98, 0.61),
                row("budget 0.4", 31.9, 0.4, budget=0.4),
                row("full", 32.0, 1),
                row("w16d2", 31.0, 0.1),
                row("dense", 32.005, 1, milliseconds=20.0),
                row("bicubic", 28.4, 0),
            ],
            **changes,
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        return path

    return save


def cells(text, name):
    """The cells of the first table row that begins with `name`."""
    line = re.search(rf"^\| {re.escape(name)} \|.*$", text, re.M)[0]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_papers_first_table_is_whole_and_gives_its_own_shares():
    cells = [
        published("table1", backbone, scale, row)[name]
        for backbone in ("SRResNet", "RCAN")
        for scale in (2, 4)
        for row in (backbone, "+ ClassSR", "+ ARM", "+ WBSR")
        for name in SETS
    ]
    assert len(set(cells)) > 50
    assert min(cell.gflops for cell in cells) > 3
    ours = routed("SRResNet", 4, "Test2K")
    assert (ours.psnr, round(100 * ours.share)) == (26.26, 65)
    assert routed("SRResNet", 4, "Set5") is None


def test_a_page_holds_every_row_of_every_set_with_time_against_dense(write, tmp_path):
    files = [str(write("Set5")), str(write("B100"))]
    assert cli.main(["results", *files, "--out", str(tmp_path / "page.md")]) == 0
    text = (tmp_path / "page.md").read_text()
    assert f"wbsr results {files[0]} {files[1]} --out" in text
    assert "## small_x4: MSRResNet x4" in text
    assert "| network | PSNR-Y dB | PSNR-RGB dB | SSIM-Y | FLOPs % | run % | ms | / dense |\n" in text
    assert cells(text, "paper") == ["31.98", "29.98", "0.7995", "61.0", "67.1", "10", "0.50"]
    assert cells(text, "bicubic")[0] == "28.40"
    assert [text.index(f"\n| {name} |") for name in ("bicubic", "dense", "full", "paper", "budget 0.4", "w16d2")] == (
        sorted(text.index(f"\n| {name} |") for name in ("bicubic", "dense", "full", "paper", "budget 0.4", "w16d2"))
    )


def test_the_papers_figures_stand_beside_the_sets_that_it_tested(write, capsys):
    assert cli.main(["results", str(write("B100"))]) == 0
    text = capsys.readouterr().out
    assert cells(text, "paper")[-2:] == ["27.36", "76.9"]
    assert cells(text, "dense")[-2:] == ["27.34", "100.0"]
    assert cells(text, "small_x4, `paper`") == ["B100", "-0.025", "61.0"]
    assert cells(text, "the paper, SRResNet x4") == ["B100", "+0.02", "76.9"]
    assert cli.main(["results", str(write("Set5"))]) == 0
    assert "paper: PSNR" not in capsys.readouterr().out.split("## Dynamic")[0]


def test_every_policy_stands_beside_its_own_full_network(write, capsys):
    rows = [row(name, 31.5, 0.5) for name in ("arm 0.5", "classsr", "full", "w16d2", "bicubic")]
    assert cli.main(["results", str(write(rows=[*rows, row("dense", 32.0, 1)]))]) == 0
    beside = capsys.readouterr().out.split("## Dynamic")[1]
    assert re.findall(r"^\| small_x4, `(.*)` \|", beside, re.M) == ["arm 0.5", "classsr"]
    assert cells(beside, "small_x4, `arm 0.5`") == ["Set5", "-0.500", "50.0"]


def test_files_that_hold_no_comparison_are_refused(write, tmp_path, capsys):
    assert cli.main(["results", str(tmp_path / "none.json")]) == 2
    assert "none.json: there is no such file; `wbsr test` writes" in capsys.readouterr().err
    (tmp_path / "text.json").write_text("{")
    assert cli.main(["results", str(tmp_path / "text.json")]) == 2
    assert "text.json must be a result file of `wbsr test`, got no JSON" in capsys.readouterr().err
    (tmp_path / "old.json").write_text('{"rows": []}')
    assert cli.main(["results", str(tmp_path / "old.json")]) == 2
    assert "got one without set: test again" in capsys.readouterr().err
    assert cli.main(["results", str(write(rows=[row("paper", 30, 0.5)]))]) == 2
    assert "must hold rows to compare, got paper: test with val:dynamic:compare: true" in capsys.readouterr().err
