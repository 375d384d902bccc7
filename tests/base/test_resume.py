"""A training goes on from the newest complete state, on any machine, also after kill -9."""

import re
from collections import Counter

import pytest
import torch

from wbsr import compat


@pytest.fixture
def experiment(tmp_path):
    """An experiment folder with complete states 5 and 10, and the options that lead to it."""
    for folder in ("models", "training_states"):
        (tmp_path / folder).mkdir()
    for iteration in (5, 10):
        state = {"epoch": iteration // 5, "iter": iteration, "optimizers": [], "schedulers": [Counter({3: 1})]}
        torch.save(state, tmp_path / "training_states" / f"{iteration}.state")
        torch.save({"params": {}}, tmp_path / "models" / f"net_g_{iteration}.pth")
    return tmp_path


@pytest.fixture
def resume(experiment):
    """BasicSR's load_resume_state as `train_pipeline` calls it: gives the state and the options it changed."""
    compat.install()
    import basicsr.train

    def run(auto_resume=True, resume_state=None, **path):
        path |= {"models": str(experiment / "models"), "training_states": str(experiment / "training_states")}
        opt = {"name": "x", "auto_resume": auto_resume, "network_g": {}, "path": path | {"resume_state": resume_state}}
        opt["manual_seed"] = 7
        return basicsr.train.load_resume_state(opt), opt

    return run


def cut(path):
    path.write_bytes(path.read_bytes()[:50])


def test_auto_resume_takes_the_newest_state_and_its_network(resume, experiment):
    state, opt = resume()
    assert (state["iter"], opt["resume_iter"], opt["resume_epoch"]) == (10, 10, 2)
    assert opt["path"]["pretrain_network_g"] == str(experiment / "models" / "net_g_10.pth")


@pytest.mark.parametrize("damage", ["state", "network", "no network"])
def test_an_incomplete_state_falls_back_to_the_one_before(resume, experiment, damage, caplog):
    network = experiment / "models" / "net_g_10.pth"
    if damage == "no network":
        network.unlink()
    else:
        cut(network if damage == "network" else experiment / "training_states" / "10.state")
    state, opt = resume()
    assert state["iter"] == 5
    assert opt["path"]["pretrain_network_g"].endswith("net_g_5.pth")
    assert "10" in caplog.text
    assert "trying the state before it" in caplog.text


def test_no_complete_state_at_all_is_an_error_not_a_fresh_start(resume, experiment):
    for path in (experiment / "training_states").iterdir():
        cut(path)
    with pytest.raises(ValueError, match=r"none of the 2 training states .* is complete .*leave out --auto_resume"):
        resume()


def test_no_state_yet_is_a_fresh_start(resume, experiment):
    for path in (experiment / "training_states").iterdir():
        path.unlink()
    state, opt = resume()
    assert state is None
    assert opt["resume_iter"] == 0


def test_a_named_state_is_resumed(resume, experiment):
    assert resume(auto_resume=False, resume_state=str(experiment / "training_states" / "5.state"))[0]["iter"] == 5


def test_a_named_state_that_is_missing_or_damaged_is_an_error_with_its_name(resume, experiment):
    path = experiment / "training_states" / "5.state"
    cut(path)
    with pytest.raises(ValueError, match=r"training state is damaged: .*5\.state"):
        resume(auto_resume=False, resume_state=str(path))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"training state does not exist: .*5\.state"):
        resume(auto_resume=False, resume_state=str(path))


def test_the_seed_is_that_with_which_the_training_began(resume, experiment):
    """Where the option file has none, BasicSR makes up another one at every start."""
    assert resume()[1]["manual_seed"] == 7  # of a state without one
    path = experiment / "training_states" / "10.state"
    torch.save({**torch.load(path, weights_only=False), "manual_seed": 5}, path)
    assert resume()[1]["manual_seed"] == 5


@pytest.mark.parametrize(("key", "then"), [("state_dict", "params"), ("params_ema", "params"), (None, None)])
def test_the_key_of_a_pretrained_file_is_not_asked_of_the_states_network(resume, key, then):
    assert resume(param_key_g=key)[1]["path"]["param_key_g"] == then


def test_a_network_that_is_not_resumed_keeps_its_key(resume):
    path = resume(param_key_g="state_dict", ignore_resume_networks=["network_g"])[1]["path"]
    assert path["param_key_g"] == "state_dict"


def test_a_network_file_is_no_training_state(resume, experiment):
    with pytest.raises(ValueError, match=r"net_g_5\.pth is no training state.*it lacks epoch"):
        resume(auto_resume=False, resume_state=str(experiment / "models" / "net_g_5.pth"))


def test_a_killed_training_goes_on_where_it_was_saved(images, options, write_options, start_program, tmp_path):
    images()
    options["train"]["total_iter"] = 24
    write_options(options)
    slow = """
        import time
        import basicsr.train
        from basicsr.models.sr_model import SRModel
        step = SRModel.optimize_parameters
        SRModel.optimize_parameters = lambda self, i: (time.sleep(0.2 if i > 12 else 0), step(self, i))[1]
        basicsr.train.train_pipeline(".")
    """
    process = start_program(slow, "-opt", "options.yml")
    for line in process.stdout:
        if "iter:      17" in line:
            break
    process.kill()
    cut(tmp_path / "experiments/tiny/training_states/15.state")  # as if killed while saving, without the mend

    on = "import basicsr.train; basicsr.train.train_pipeline('.')"
    output = start_program(on, "-opt", "options.yml", "--auto_resume").output()
    assert "Resuming training from epoch: 0, iter: 10." in output
    assert [int(i) for i in re.findall(r"iter: +(\d+), lr", output)] == list(range(11, 25))
    rates = dict(re.findall(r"iter: +(\d+), lr:\(([^,]*),", output))
    assert (rates["15"], rates["16"]) == ("2.000e-04", "1.000e-04")  # the milestone after 15 is kept
    assert (tmp_path / "experiments/tiny/models/net_g_latest.pth").is_file()
    assert "psnr" in output


def test_a_state_whose_network_is_no_number_is_passed_over(resume, experiment, caplog):
    torch.save({"params": {"a": torch.tensor([1.0, float("nan")])}}, experiment / "models" / "net_g_10.pth")
    assert resume()[0]["iter"] == 5
    assert "net_g_10.pth: a holds what is no finite number" in caplog.text
