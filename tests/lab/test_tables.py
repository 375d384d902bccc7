"""`wbsr tables`: every shipped table and preset, what rows run and share, resuming, and what the page says."""

import csv
import fcntl
import json
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from wbsr import cli
from wbsr.training import check
from wbsr_lab.results.paper import published
from wbsr_lab.tables import check_memory, estimate, make_jobs, only_run_in, recipe, report, runner, sets, summary

TABLES, PRESETS = recipe.names(), recipe.names("presets")


def jobs_of(name, preset="smoke", **asked):
    return make_jobs(recipe.read_table(name), recipe.read_preset(preset), asked.pop("scales", [4]), **asked)


def plan_of(job, preset="smoke"):
    preset = recipe.read_preset(preset)
    return runner.plan(job, preset, sets.places(preset, job.scale))


def by_name(name, row, preset="smoke", seed=0):
    return next(job for job in jobs_of(name, preset) if (job.name, job.seed) == (row, seed))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_every_table_has_option_files_at_every_size(name, preset):
    for job in jobs_of(name, preset, scales=[2, 4]):
        what = plan_of(job, preset)
        assert all(training["scale"] == job.scale for training in what.trainings)
        network = what.test["network_g"]
        if network["type"] == "Supernet":
            assert (len(network["widths"]), len(network["depths"])) == job.row.subnets
            assert network["widths"][-1] == network["backbone"]["num_feat"]
            assert network["depths"][-1] == network["backbone"]["num_block"]


def test_the_papers_preset_trains_by_the_shipped_option_file_with_other_paths_alone():
    """Its networks and settings are those of options/train/SRResNet/WBSR_SRResNet_x4.yml, but for how steps compute."""
    (training,) = plan_of(by_name("table1", "+ WBSR", "paper"), "paper").trainings
    shipped = yaml.safe_load((recipe.OPTIONS / "train/SRResNet/WBSR_SRResNet_x4.yml").read_text(encoding="utf-8"))
    for block in ("network_g", "train", "scale", "model_type"):
        ours, theirs = training[block], shipped[block]
        if block == "train":
            ours["pixel_opt"].pop("dataroot_gt"), theirs["pixel_opt"].pop("dataroot_gt")
            assert ours.pop("compute") == {"precision": "bf16", "channels_last": True, "graphs": True}
        assert ours == theirs
    changed = {k for k, v in training["datasets"]["train"].items() if shipped["datasets"]["train"].get(k) != v}
    assert changed == {"dataroot_gt", "dataroot_lq"}


def test_the_preset_for_a_gpu_has_the_papers_networks_and_the_papers_length_recorded():
    for row in ("SRResNet", "+ supernet", "+ HES", "+ L_bd", "+ L_bd, laplace", "+ WBSR", "+ WBSR †"):
        (ours,) = plan_of(by_name("table2", row, "gpu"), "gpu").trainings
        (theirs,) = plan_of(by_name("table2", row, "paper"), "paper").trainings
        assert ours["network_g"] == theirs["network_g"]
        for block in (ours["train"], theirs["train"]):
            block["pixel_opt"].pop("dataroot_gt", None)
        assert ours["train"] == theirs["train"]
        assert ours["train"]["compute"]["graphs"]
    for training in (each for job in jobs_of("table1", "gpu") for each in plan_of(job, "gpu").trainings):
        assert training["datasets"]["train"]["batch_size_per_gpu"] == 16
        assert training["train"]["total_iter"] == (200_000 if "SRResNet" in training["name"] else 20_000)


def test_rows_that_train_alike_share_one_training_and_others_do_not():
    plain, same = (plan_of(by_name(table, "SRResNet")).trainings for table in ("table1", "table2"))
    assert plain == same
    names = {plan_of(job).trainings[-1]["name"] for job in jobs_of("table2", backbones=["SRResNet"])}
    assert len(names) == len(recipe.read_table("table2").rows)
    one, other = (plan_of(by_name("table2", "+ WBSR", "bench", seed), "bench") for seed in (0, 1))
    assert one.trainings[0]["name"] != other.trainings[0]["name"]
    assert (one.trainings[0]["manual_seed"], other.trainings[0]["manual_seed"]) == (0, 1)


def test_a_stage_starts_from_the_network_of_the_stage_before():
    first, second, third = plan_of(by_name("table1", "+ ClassSR")).trainings
    assert first["path"]["pretrain_network_g"] is None
    assert third["path"]["pretrain_network_g"] == f"experiments/{second['name']}/models/net_g_latest.pth"
    assert second["path"]["pretrain_network_g"] == f"experiments/{first['name']}/models/net_g_latest.pth"


def test_a_change_must_name_a_block_that_is_there():
    row = recipe.Row("wrong", change={"train:nowhere:key": 1})
    with pytest.raises(ValueError, match=r"change 'train:nowhere:key': the option file .* has no block 'nowhere'"):
        plan_of(runner.Job(row, "SRResNet", 4, 100, 0))


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """`wbsr` in the folder of the results, without work: notes its calls, and writes what the real one would."""
    calls, broken = [], []

    def wbsr(arguments, name, out, parallel):
        calls.append((arguments[0], name))
        if name in broken:
            raise RuntimeError(f"`wbsr {arguments[0]}` failed")
        if arguments[0] == "train":
            (out / runner.options.weights({"name": name})).parent.mkdir(parents=True)
            (out / runner.options.weights({"name": name})).write_bytes(b"")
        if arguments[0] == "calibrate":
            (out / arguments[arguments.index("--out") + 1]).write_bytes(b"")
        if arguments[0] == "test":
            folder = out / "results" / name
            folder.mkdir(parents=True)
            row = {"psnr_y": 30.0, "ssim_y": 0.9, "psnr_rgb": 28.0, "ssim_rgb": 0.8, "flops_share": 0.5}
            (folder / "photographs.json").write_text(json.dumps({"images": 3, "rows": [row]}))

    monkeypatch.setattr(runner, "_wbsr", wbsr)
    monkeypatch.setattr(sets, "make_pairs", lambda preset, data, out, scale: sets.places(preset, scale))
    monkeypatch.chdir(tmp_path)
    return calls, broken


COMMAND = ["tables", "table2", "--backbones", "SRResNet", "--only", "SRResNet", "+ WBSR", "--out", "out"]


def test_finished_rows_are_kept_and_a_row_that_failed_is_run_again(fake, capsys):
    calls, broken = fake
    plain, full = (plan_of(by_name("table2", row)).trainings[0]["name"] for row in ("SRResNet", "+ WBSR"))
    broken.append(full)
    assert cli.main(COMMAND) == 1
    assert calls == [("train", plain), ("test", calls[1][1]), ("train", full)]
    assert "+ WBSR (SRResNet x4, 12 iterations, seed 0) failed: `wbsr train` failed" in capsys.readouterr().err
    page = Path("out/table2/table2.md").read_text(encoding="utf-8")
    assert "1 of 2 rows are finished" in page
    assert "Failed: + WBSR (SRResNet x4, 12 iterations, seed 0)" in page
    calls.clear()
    broken.clear()
    assert cli.main(COMMAND) == 0
    assert calls == [("train", full), ("test", calls[1][1])]
    assert "2 of 2 rows are finished" in Path("out/table2/table2.md").read_text(encoding="utf-8")
    calls.clear()
    assert cli.main(COMMAND) == 0
    assert calls == []


def test_a_row_that_two_tables_have_is_run_once_and_bears_each_ones_name(fake):
    calls, _ = fake
    for name, row in (("table2", "+ WBSR"), ("table4", "M = 9")):
        assert cli.main(["tables", name, "--backbones", "SRResNet", "--only", row, "--out", "out"]) == 0
        rows = json.loads(Path(f"out/{name}/{name}.json").read_text(encoding="utf-8"))["rows"]
        assert [each["row"] for each in rows] == [row]
    assert len(calls) == 2


def test_a_training_that_ends_without_a_network_is_a_failure(fake, monkeypatch, capsys):
    monkeypatch.setattr(runner, "_wbsr", lambda *_: None)
    assert cli.main(COMMAND) == 1
    assert re.search(r"the training WBSR_SRResNet_x4_\w+ left no network: see .*\.log", capsys.readouterr().err)


def test_the_four_forms_say_the_same(fake):
    assert cli.main(COMMAND) == 0
    folder = Path("out/table2")
    rows = json.loads((folder / "table2.json").read_text(encoding="utf-8"))["rows"]
    with (folder / "table2.csv").open(encoding="utf-8") as file:
        flat = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [row["row"] for row in flat] == ["SRResNet", "+ WBSR"]
    assert float(flat[1]["psnr_y"]) == rows[1]["psnr_y"] == 30
    page, text = ((folder / f"table2.{form}").read_text(encoding="utf-8") for form in ("html", "md"))
    assert "data:image/png;base64," in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "| SRResNet x4 | + WBSR | 12 | photographs (3) | 1 | 30.000 | +0.000 | 28.000 |" in text
    assert "<td>+ WBSR</td><td>12</td><td>photographs (3)</td><td>1</td><td>30.000</td>" in page
    assert (folder / "table2_SRResNet_x4.png").stat().st_size > 5000


def test_a_second_run_in_the_same_folder_is_refused(fake, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli.main(COMMAND) == 2
    assert "another `wbsr tables` works in out, or a process that a killed one left: wait" in capsys.readouterr().err


def test_a_process_that_a_killed_run_left_keeps_the_next_run_out(tmp_path, monkeypatch):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    left = []
    monkeypatch.setattr(runner.sys, "executable", str(slow))
    monkeypatch.setattr(subprocess, "run", lambda *a, check, **k: left.append(subprocess.Popen(*a, **k)) or left[0])
    with only_run_in(tmp_path):
        runner._wbsr(["train"], "left", tmp_path, 1)  # goes on after this run has ended
    with pytest.raises(BlockingIOError, match="a process that a killed one left"), only_run_in(tmp_path):
        pass
    left[0].kill()
    left[0].wait()
    with only_run_in(tmp_path):
        pass


def test_rows_that_run_at_once_train_once_what_they_share(fake, monkeypatch):
    calls, _ = fake
    without_work = runner._wbsr

    def wbsr(arguments, name, out, parallel):
        time.sleep(0.2 if arguments[0] in ("train", "calibrate") else 0)  # time for the other row to begin too
        without_work(arguments, name, out, parallel)

    monkeypatch.setattr(runner, "_wbsr", wbsr)
    rows = ["+ ARM", "+ ARM, ClassSR's protocol"]
    assert (
        cli.main(["tables", "table1", "--backbones", "SRResNet", "--parallel", "2", "--out", "out", "--only", *rows])
        == 0
    )
    assert sorted(kind for kind, _ in calls) == ["calibrate", "test", "test", "train"]


def finished(row, seed, psnr, **more):
    cell = {"psnr_y": psnr, "ssim_y": 0.7, "psnr_rgb": psnr - 2, "ssim_rgb": 0.6, "flops_share": 0.5}
    network = {
        "type": "Supernet",
        "backbone": {
            "type": "MSRResNet",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 64,
            "num_block": 16,
            "upscale": 4,
        },
        "widths": [64],
        "depths": [16],
    }
    base = {
        "classes": {},
        "protocol": "whole",
        "row": row,
        "backbone": "SRResNet",
        "scale": 4,
        "iterations": 1000,
        "seed": seed,
        "network": network,
    }
    return {**base, "images": {"Test2K": 100}, "sets": {"Test2K": cell}, **more}


def test_an_entry_is_the_mean_over_seeds_paired_with_the_first_row_beside_the_papers():
    rows = [finished("SRResNet", 0, 26.0), finished("SRResNet", 1, 28.0)]
    rows += [finished("+ WBSR", 0, 26.1), finished("+ WBSR", 1, 28.3)]
    plain, ours = summary.entries("table1", rows)
    assert plain.gain is None
    assert (ours.gain.mean, ours.gain.deviation) == pytest.approx((0.2, 0.1 * 2**0.5))
    assert ours.metrics["psnr_y"].mean == pytest.approx(27.2)
    assert ours.paper == published("table1", "SRResNet", 4, "+ WBSR")["Test2K"]
    assert ours.parameters == 1517571
    assert ours.gflops.mean == pytest.approx(5.193990144 / 2)


def test_flops_at_x2_stand_by_the_true_graph_and_by_the_papers_count():
    rows = [finished("SRResNet", 0, 32.0)]
    rows[0]["network"]["backbone"]["upscale"] = rows[0]["scale"] = 2
    (entry,) = summary.entries("table1", rows)
    assert 2 * entry.gflops.mean == pytest.approx(12.15, abs=0.005)
    assert 2 * entry.gflops_paper.mean == pytest.approx(20.78, abs=0.005)


def test_gains_by_class_are_paired_and_leave_out_what_is_missing():
    classes = [[30.0, None, 20.0], [31.0, 25.0, 20.5]]
    rows = [finished("SRResNet", 0, 26.0, classes={"Test2K": classes[0]})]
    rows += [finished("+ WBSR", 0, 26.1, classes={"Test2K": classes[1]})]
    entry = summary.entries("fig5", rows)[1]
    assert [gain and gain.mean for gain in entry.class_gains] == [1.0, None, 0.5]
    assert [gain and gain.mean for gain in entry.part_gains] == [1.0, None, 0.5]


def test_gains_of_easy_medium_and_hard_classes_are_means_of_three_four_and_three():
    rows = [finished("SRResNet", 0, 26.0, classes={"Test2K": [20.0] * 10})]
    rows += [finished("+ WBSR", 0, 26.1, classes={"Test2K": [20.0 + k for k in range(9)] + [None]})]
    entry = summary.entries("fig5", rows)[1]
    assert [gain.mean for gain in entry.part_gains] == [1.0, 4.5, 7.5]
    head, cells = report.class_lines([entry])
    assert head[4:7] == ("easy", "medium", "hard")
    assert cells[4:7] == ("+1.000", "+4.500", "+7.500")


def test_gains_may_be_over_another_row(fake):
    assert cli.main([*COMMAND, "--over", "+ WBSR"]) == 0
    page = Path("out/table2/table2.md").read_text(encoding="utf-8")
    assert "Gain: PSNR-Y over + WBSR, paired by seed" in page
    assert "| SRResNet x4 | SRResNet | 12 | photographs (3) | 1 | 30.000 | +0.000 | 28.000 |" in page
    assert "| SRResNet x4 | + WBSR | 12 | photographs (3) | 1 | 30.000 |  | 28.000 |" in page


def test_gains_are_paired_by_length_and_stand_side_by_side():
    rows = [
        finished(row, 0, psnr, iterations=length)
        for length, plain in ((1000, 26.0), (4000, 26.5))
        for row, psnr in (("SRResNet", plain), ("+ HES", plain + length / 10000), ("+ WBSR", plain + 0.5))
    ]
    found = summary.entries("table2", rows[:-1])
    assert [(entry.row, entry.iterations, entry.gain and round(entry.gain.mean, 3)) for entry in found] == [
        ("SRResNet", 1000, None),
        ("+ HES", 1000, 0.1),
        ("+ WBSR", 1000, 0.5),
        ("SRResNet", 4000, None),
        ("+ HES", 4000, 0.4),
    ]
    head, *lines = report.length_lines(found)
    assert head[3:] == ("gain dB, 1,000 iterations", "gain dB, 4,000 iterations")
    assert [line[1:] for line in lines] == [
        ("+ HES", "Test2K (100)", "+0.100", "+0.400"),
        ("+ WBSR", "Test2K (100)", "+0.500", ""),
    ]
    assert report.length_lines(found[:3]) == []


def test_trainings_of_several_lengths_run_the_short_ones_first(fake):
    calls, _ = fake
    assert cli.main([*COMMAND, "--iterations", "40", "20"]) == 0
    trained = [yaml.safe_load(Path(f"out/options/{name}.yml").read_text()) for kind, name in calls if kind == "train"]
    assert [training["train"]["total_iter"] for training in trained] == [20, 20, 40, 40]
    assert [training["train"]["scheduler"]["periods"] for training in trained] == [[20], [20], [40], [40]]
    assert {path.name for path in Path("out/table2").glob("*.png")} == {
        "table2_SRResNet_x4_20.png",
        "table2_SRResNet_x4_40.png",
    }
    calls.clear()
    assert cli.main([*COMMAND, "--iterations", "40", "40", "--seeds", "0", "0"]) == 0
    assert calls == []
    page = Path("out/table2/table2.md").read_text(encoding="utf-8")
    assert "Made by `wbsr tables table2 --preset smoke --iterations 40 40`: 2 of 2 rows are finished." in page


def test_gains_over_the_length_are_one_plot(fake):
    command = ["tables", "lengths", "--backbones", "SRResNet", "--out", "out", "--iterations", "20", "40"]
    assert cli.main([*command, "--only", "SRResNet", "+ BSPA", "+ L_bd"]) == 0
    (plot,) = Path("out/lengths").glob("*.png")
    assert (plot.name, plot.stat().st_size > 5000) == ("lengths_SRResNet_x4.png", True)
    page = Path("out/lengths/lengths.md").read_text(encoding="utf-8")
    assert "| + L_bd | photographs (3) | +0.000 | +0.000 |" in page


def test_the_papers_tables_are_whole():
    for table, row, test_set, psnr, gflops in (
        ("table1", "+ ClassSR", "Urban100", 24.53, 4.23),
        ("table2", "+ WBSR †", "Test4K", 27.80, 5.19),
    ):
        figure = published(table, "SRResNet", 4, row)[test_set]
        assert (figure.psnr, figure.gflops) == (psnr, gflops)
    assert published("table3", "RCAN", 4, "+ DDA")["Urban100"].ssim is None
    assert published("table4", "SRResNet", 4, "M = 16")["Test2K"][:2] == (26.12, 0.7654)
    assert published("table1", "SRResNet", 4, "none") == {}


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_the_rows_that_the_paper_has_are_found_by_name(name):
    own = {(job.backbone, job.name) for job in jobs_of(name, "paper")}
    theirs = {
        (backbone, row)
        for backbone in ("SRResNet", "RCAN")
        for row in {name for _, name in own}
        if published(name, backbone, 4, row)
    }
    expected = {"table1": 8, "table2": 10, "table3": 7, "table4": 5}
    assert len(theirs) == expected[name]


def test_check_data_counts_images_and_says_what_is_missing(tmp_path, capsys):
    (tmp_path / "B100").mkdir()
    (tmp_path / "B100" / "one.png").write_bytes(b"")
    assert cli.main(["tables", "--check-data", "--preset", "paper", "--data", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"missing B100: .*B100 must hold 100 images, got 1", text)
    assert re.search(r"missing Test4K: there is no folder .*Test4K", text)
    assert cli.main(["tables", "table1", "--preset", "bench", "--out", str(tmp_path / "out")]) == 2
    assert "train: --data must be given, the folder that holds train_hr/" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_own_sets_replace_those_of_the_preset(tmp_path):
    file = tmp_path / "sets.yml"
    file.write_text("tests: {mine: {hr: photographs, count: 2}}")
    preset = recipe.read_preset("bench", file)
    assert list(preset.tests) == ["mine"]
    assert preset.train.hr == "train_hr"
    file.write_text("test: {}")
    with pytest.raises(ValueError, match="unknown key 'test': did you mean 'tests'"):
        recipe.read_preset("bench", file)


def test_a_dry_run_lists_rows_files_data_and_cost(tmp_path, capsys):
    command = ["tables", "table4", "--preset", "bench", "--dry-run", "--data", str(tmp_path), "--out", "out"]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    row = "M = 16 (SRResNet x4, 1000 iterations, seed 2)"
    assert f"to do       {row}: options/train/SRResNet/WBSR_SRResNet_x4.yml" in text
    assert re.search(r"15 trainings, 0\.\d+ PFLOP in all.* on two CPU cores", text)
    assert re.search(r"missing train: there is no folder", text)


def minutes(text, row, origin):
    """What a dry run says of a row by the rates of an origin."""
    (line,) = (line for line in text.splitlines() if f"  {row} (SRResNet x4, 200000 iterations, seed 0): " in line)
    number, unit = re.search(rf"([\d.]+) (min|h) as {origin}", line).groups()
    return float(number) * {"min": 1, "h": 60}[unit]


def test_a_dry_run_for_a_card_tells_minutes_by_rates_that_are_named(tmp_path, capsys, monkeypatch):
    command = ["tables", "table1", "--preset", "gpu", "--backbones", "SRResNet", "--dry-run"]
    command += ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert minutes(text, "+ WBSR", "measured") == round(200_000 / 35 / 60)
    assert minutes(text, "+ WBSR", "wanted") == round(200_000 / 350 / 60)
    assert minutes(text, "SRResNet", "wanted") == round(200_000 / 250 / 60)
    deep = minutes(text, "+ ARM", "wanted")  # as deep as the full network in each step
    assert minutes(text, "+ WBSR", "wanted") < deep < 20
    assert "+ WBSR, ClassSR's protocol (SRResNet x4, 200000 iterations, seed 0): " in text
    assert text.count("no training of its own") == 3
    assert re.search(r"6 trainings, .* as measured, .* as wanted on one H100", text)
    assert "  measured: by an earlier version" in text
    assert "  wanted: what recorded steps are to reach; not measured yet" in text

    row = {"training": "SRResNet", "fast": True, "rate": 500.0, "device": "NVIDIA H100 80GB HBM3"}
    found = {"torch": "2.14", "rehearsal": False, "rows": [row, {**row, "fast": False, "rate": 1.0}]}
    (tmp_path / "train_speed.json").write_text(json.dumps(found))
    monkeypatch.setattr(estimate, "MEASURED", tmp_path)
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert minutes(text, "+ WBSR", "measured") == round(200_000 / 500 / 60)
    assert "wanted" not in text
    assert "measured: by benchmarks/train_speed.py on NVIDIA H100 80GB HBM3, torch 2.14 (train_speed.json)" in text
    for other in ({"rehearsal": True}, {"rows": [{**row, "device": "CPU"}]}):
        (tmp_path / "train_speed.json").write_text(json.dumps(found | other))
        speed = recipe.read_preset("gpu").speed
        assert estimate.measured(speed, tmp_path) == speed


def test_a_rate_that_is_not_known_leaves_the_time_open(tmp_path, capsys, monkeypatch):
    preset = recipe.read_preset("gpu")
    speed = replace(preset.speed, rates={"measured": {"RCAN": 9.0}}, about={"measured": "by hand"})
    monkeypatch.setattr(recipe, "read_preset", lambda *_: replace(preset, speed=speed))
    command = ["tables", "table2", "--preset", "gpu", "--backbones", "SRResNet", "--only", "+ HES", "--dry-run"]
    assert cli.main([*command, "--out", str(tmp_path)]) == 0
    assert "WBSR_SRResNet_x4.yml; ? as measured\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"about": {}}, "about must say where rates come from: measured; got "),
        ({"rates": {"measured": {"RCAN": 0}}}, "rates:measured:RCAN must be a number above 0, got 0"),
        ({"rates": {"measured": {"RCAN": "9"}}}, "rates:measured:RCAN must be a number above 0, got '9'"),
    ],
)
def test_a_wrong_rate_is_refused(block, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        recipe.Speed(**{"card": "H100", "rates": {"measured": {"RCAN": 6}}, "about": {"measured": "so"}, **block})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9"], "there is no table 'table9': did you mean 'table"),
        (["table1", "--preset", "benhc"], "there is no preset 'benhc': did you mean 'bench'?"),
        (["table1", "--only", "+ WSBR"], "--only '+ WSBR': there is no such row: did you mean '+ WBSR'?"),
        ([], "name a table: "),
        (["table1", "--iterations", "0"], "--iterations must be at least 1, got 0"),
    ],
)
def test_a_wrong_argument_says_what_there_is(arguments, message, capsys):
    assert cli.main(["tables", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_machine_without_the_memory_is_refused():
    check_memory(0.1)
    with pytest.raises(ValueError, match=r"the preset needs 1e\+06 GB of memory, and this machine has"):
        check_memory(1e6)


@pytest.fixture
def quick_commands(start_python, monkeypatch):
    """The commands that tables run begin with everything imported."""

    def run(command, cwd, env, stdout, **_):
        process = start_python(*command[1:], folder=cwd, **env)
        stdout.write(process.stdout.read())
        process.wait()
        return process

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.usefixtures("quick_commands")
def test_one_row_of_each_table_runs_for_real_and_what_it_ran_passes_the_checks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = {
        "table1": "+ WBSR",
        "table2": "+ WBSR",
        "table3": "+ DDA",
        "table4": "M = 9",
        "fig1": "SRResNet",
        "fig3": "+ WBSR",
        "fig7": "K = 10",
    }
    for name, row in rows.items():
        only = ["--backbones", "SRResNet", "--only", row]
        assert cli.main(["tables", name, *only, "--out", "out", "--parallel", "2"]) == 0
        found = json.loads(Path(f"out/{name}/{name}.json").read_text(encoding="utf-8"))["rows"]
        assert [each["row"] for each in found] == [row]
        assert 15 < found[0]["psnr_y"] < 40
        assert all(path.stat().st_size > 5000 for path in Path(f"out/{name}").glob("*.png"))
    assert len(list(Path("out/experiments").iterdir())) == 3
    monkeypatch.chdir("out")
    for path in Path("options").glob("*.yml"):
        command = "test" if path.stem.startswith("test_") else "train"
        check(command, yaml.safe_load(path.read_text(encoding="utf-8")))


def photographs(folder, count=4, size=(160, 176)):
    """A folder of HR images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def test_what_the_preset_for_a_gpu_writes_passes_the_checks(tmp_path, monkeypatch):
    photographs(tmp_path / "hr")
    preset = recipe.read_preset("gpu")
    preset = replace(preset, train=recipe.ImageSet("hr"), tests={"own": recipe.ImageSet("hr")})
    folders = sets.make_pairs(preset, tmp_path, tmp_path, 4)
    monkeypatch.chdir(tmp_path)
    names = set()
    for job in (job for name in ("table1", "table2") for job in jobs_of(name, "gpu", backbones=["SRResNet"])):
        for training in runner.plan(job, preset, folders).trainings:
            if training["name"] in names:
                continue
            names.add(training["name"])
            runner.options.weights(training).parent.mkdir(parents=True)
            torch.save({"params_ema": {}}, runner.options.weights(training))  # what a later stage starts from
            check("train", yaml.safe_load(yaml.safe_dump(training)))
    assert len(names) == 16


@pytest.mark.usefixtures("quick_commands")
def test_a_row_of_the_preset_for_a_gpu_runs_on_a_folder_of_images(tmp_path, monkeypatch):
    """By toy networks, six iterations of two patches; the rest is as on a GPU."""
    photographs(tmp_path / "mine" / "hr", 2)
    (tmp_path / "sets.yml").write_text("train: {hr: hr}\ntests: {own: {hr: hr}}")
    read, toy = recipe.read_preset, recipe.read_preset("smoke").networks

    def small(name, own):
        preset = read(name, own)
        change = {**preset.change, "datasets:train:batch_size_per_gpu": 2, "datasets:train:num_worker_per_gpu": 0}
        return replace(preset, networks=toy, iterations={"SRResNet": 6}, change=change)

    monkeypatch.setattr(recipe, "read_preset", small)
    monkeypatch.chdir(tmp_path)
    command = ["tables", "table2", "--preset", "gpu", "--sets", "sets.yml", "--data", "mine", "--out", "out"]
    assert cli.main([*command, "--backbones", "SRResNet", "--only", "+ WBSR, laplace"]) == 0
    (row,) = json.loads(Path("out/table2/table2.json").read_text(encoding="utf-8"))["rows"]
    assert (row["row"], row["test_set"], row["images"]) == ("+ WBSR, laplace", "own", 2)
    assert row["psnr_y"] > 15
    (log,) = Path("out/options").glob("WBSR_*.log")
    assert "train:compute:graphs: steps run as ever, for CUDA graphs need a CUDA device" in log.read_text()
