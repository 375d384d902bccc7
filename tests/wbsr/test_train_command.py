"""`wbsr train` and `wbsr test` run BasicSR's pipelines on checked options, alone and under torchrun."""

import re
import socket

from wbsr import cli


def test_train_then_test(images, options, write_options, start_python, tmp_path):
    root = images()
    options["train"]["total_iter"] = 4
    options["logger"]["save_checkpoint_freq"] = 4
    write_options(options)
    forced = ["--force_yml", "name=forced"]
    output = start_python("-m", "wbsr", "train", "-opt", "options.yml", *forced).output()
    assert "iter:       4" in output
    network = root / "experiments/forced/models/net_g_latest.pth"
    copied = (root / "experiments/forced/options.yml").read_text()
    assert "# wbsr train -opt options.yml --force_yml name=forced" in copied

    options["datasets"] = {"test_1": options["datasets"]["val"] | {"name": "held_out"}}
    options["path"] = {"pretrain_network_g": str(network), "param_key_g": "params_ema"}
    options["val"] |= {"suffix": None}
    write_options(options)
    output = start_python("-m", "wbsr", "test", "-opt", "options.yml").output()
    assert re.search(r"Validation held_out\s+# psnr: \d+\.\d+", output)
    assert len(list((root / "results/tiny/visualization/held_out").glob("*_tiny.png"))) == 10


def test_a_fault_in_the_options_ends_in_one_line_before_anything_is_made(
    images, options, write_options, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(images())
    options["val"]["metrics"]["psnr"]["test_y_chanel"] = True
    write_options(options)
    assert cli.main(["train", "-opt", "options.yml"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("wbsr: error: val:metrics:psnr: calculate_psnr takes no option 'test_y_chanel'")
    assert message.count("\n") == 1
    assert not (tmp_path / "experiments").exists()


def test_force_yml_is_checked_like_the_file(images, options, write_options, monkeypatch, capsys):
    monkeypatch.chdir(images())
    write_options(options)
    assert cli.main(["train", "-opt", "options.yml", "--force_yml", "network_g:type=MSRResnet"]) == 2
    assert "did you mean 'MSRResNet'" in capsys.readouterr().err


def test_a_missing_option_file_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["test", "-opt", "none.yml"]) == 2
    assert "wbsr: error: the option file none.yml does not exist" in capsys.readouterr().err


def test_two_processes_train_together_on_a_cpu(images, options, write_options, start_python, tmp_path):
    images()
    options["train"]["total_iter"] = 4
    options["logger"]["save_checkpoint_freq"] = 4
    options["val"]["save_img"] = False
    write_options(options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    command = ["-m", "wbsr", "train", "-opt", "options.yml", "--launcher", "pytorch"]
    output = start_python(*torchrun, *command).output()
    assert "World size (gpu number): 2" in output
    assert "iter:       4" in output
    assert (tmp_path / "experiments/tiny/models/net_g_latest.pth").is_file()
