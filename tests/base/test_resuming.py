"""A resumed training follows the option file of its start: what changed holds, is told, and nothing else changes."""

import copy
import re

import pytest
import torch

from wbsr_base.basicsr import SRModel, get_root_logger

COSINE = {"type": "CosineAnnealingRestartLR", "periods": [20], "restart_weights": [1], "eta_min": 1e-6}


@pytest.fixture
def train(options, tmp_path, caplog):
    """Train BasicSR's SRModel over iterations, from a state or from the start; returns its learning rates and state."""
    for folder in ("models", "states"):
        (tmp_path / folder).mkdir()
    logger = get_root_logger()
    logger.addHandler(caplog.handler)

    def run(last, state=None, scheduler=None, total_iter=20, warmup=-1, **optim):
        opt = copy.deepcopy(options) | {"num_gpu": 0, "dist": False, "is_train": True, "rank": 0}
        opt["path"] |= {"models": str(tmp_path / "models"), "training_states": str(tmp_path / "states")}
        opt["train"] |= {"scheduler": dict(scheduler or opt["train"]["scheduler"]), "total_iter": total_iter}
        opt["train"]["optim_g"] |= optim
        if state is not None:
            opt["path"]["pretrain_network_g"] = str(tmp_path / f"models/net_g_{state['iter']}.pth")
        torch.manual_seed(0)
        model = SRModel(opt)
        if state is not None:
            model.resume_training(state)
        rates = []
        for iteration in range(1 if state is None else state["iter"] + 1, last + 1):
            model.update_learning_rate(iteration, warmup)
            generator = torch.Generator().manual_seed(iteration)
            model.feed_data({k: torch.rand(1, 3, s, s, generator=generator) for k, s in (("lq", 8), ("gt", 16))})
            model.optimize_parameters(iteration)
            rates.append(model.get_current_learning_rate()[0])
        model.save(0, last)
        return rates, torch.load(tmp_path / f"states/{last}.state", weights_only=True), model

    yield run
    logger.removeHandler(caplog.handler)


def weights(model):
    return torch.cat([weight.flatten() for weight in model.net_g.state_dict().values()])


@pytest.mark.parametrize("scheduler", [None, COSINE])
def test_an_unchanged_file_goes_on_to_the_last_bit_and_says_nothing(train, scheduler, caplog):
    whole, _, expected = train(12, scheduler=scheduler)
    first, state, _ = train(7, scheduler=scheduler)
    second, _, model = train(12, state, scheduler=scheduler)
    assert first + second == whole
    assert torch.equal(weights(model), weights(expected))
    assert "differs" not in caplog.text


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"lr": 2e-4}, {"lr": 1e-4}, "train:optim_g:lr 0.0002 → 0.0001"),
        (
            {},
            {"scheduler": {"type": "MultiStepLR", "milestones": [4, 9, 11], "gamma": 0.5}},
            "train:scheduler:milestones [15] → [4, 9, 11]",
        ),
        (
            {"scheduler": {"type": "MultiStepLR", "milestones": [3, 9], "gamma": 0.5}},
            {"scheduler": {"type": "MultiStepLR", "milestones": [3, 9], "gamma": 0.1}},
            "train:scheduler:gamma 0.5 → 0.1",
        ),
        ({"scheduler": COSINE}, {"scheduler": COSINE | {"periods": [40]}, "total_iter": 40}, "periods 20 → 40"),
        (
            {"scheduler": COSINE},
            {"scheduler": COSINE | {"periods": [5, 15], "restart_weights": [1, 0.5]}},
            "train:scheduler:periods 20 → [5, 15]; train:scheduler:restart_weights 1 → [1, 0.5]",
        ),
        ({"scheduler": COSINE}, {"scheduler": COSINE | {"eta_min": 1e-5}}, "train:scheduler:eta_min 1e-06 → 1e-05"),
        ({}, {"scheduler": COSINE}, "train:scheduler:periods None → 20"),
        ({"scheduler": COSINE}, {}, "train:scheduler:milestones None → [15]"),
        (
            {"scheduler": {"type": "MultiStepLR", "milestones": [3], "restarts": [0], "restart_weights": [1]}},
            {"scheduler": {"type": "MultiStepLR", "milestones": [3], "restarts": [0, 6], "restart_weights": [1, 0.5]}},
            "train:scheduler:restarts 0 → [0, 6]",
        ),
        (
            {"scheduler": {"type": "MultiStepLR", "milestones": [9], "restarts": [0], "restart_weights": [0.5]}},
            {
                "scheduler": {
                    "type": "MultiStepLR",
                    "milestones": [9],
                    "gamma": 0.5,
                    "restarts": [0],
                    "restart_weights": [0.5],
                }
            },
            "train:scheduler:gamma 0.1 → 0.5",
        ),
    ],
)
def test_a_changed_schedule_holds_from_there_on_and_is_told(train, before, after, told, caplog):
    """The rates are those of a training that had the new file from the start."""
    expected, _, _ = train(12, **after)
    _, state, _ = train(7, **before)
    caplog.clear()
    rates, _, _ = train(12, state, **after)
    assert rates == pytest.approx(expected[7:], rel=1e-12)
    (line,) = [record.message for record in caplog.records if "differs" in record.message]
    assert line.startswith("The option file differs from the training state, and holds from iteration 8 on: ")
    assert told in line


def test_a_schedule_that_ends_before_the_state_is_refused(train):
    _, state, _ = train(8, scheduler=COSINE)
    with pytest.raises(ValueError, match=r"is of iteration 8, behind the end of train:scheduler:periods 6: let them, "):
        train(9, state, scheduler=COSINE | {"periods": [6]}, total_iter=6)


def test_what_changed_once_is_no_change_the_next_time(train, caplog):
    _, state, _ = train(5, lr=2e-4)
    _, state, _ = train(8, state, lr=1e-4)
    caplog.clear()
    train(10, state, lr=1e-4)
    assert "differs" not in caplog.text


@pytest.mark.parametrize(("name", "old", "new"), [("betas", [0.9, 0.99], [0.5, 0.9]), ("weight_decay", 0, 0.1)])
def test_other_options_of_the_optimiser_hold_too_and_its_moments_stay(train, name, old, new, caplog):
    _, state, _ = train(5, **{name: old})
    caplog.clear()
    rates, after, model = train(6, state, **{name: new})
    assert f"train:optim_g:{name} {old} → {new}" in caplog.text
    assert list(torch.tensor(model.optimizer_g.param_groups[0][name]).flatten()) == list(torch.tensor(new).flatten())
    assert int(after["optimizers"][0]["state"][0]["step"]) == 6
    assert rates == [2e-4]


def test_a_state_of_another_optimiser_is_told_in_one_line(train):
    _, state, _ = train(3)
    state["optimizers"][0]["param_groups"] *= 2
    with pytest.raises(
        ValueError, match="the training state is of another optimiser, schedule or network than the opt"
    ):
        train(5, state)


def params(path):
    return torch.cat([w.flatten() for w in torch.load(path, weights_only=True)["params"].values()])


@pytest.mark.parametrize("model_type", ["SRModel", "WBSRModel"])
def test_the_draws_of_a_loss_go_on(images, options, write_options, start_python, tmp_path, model_type):
    """A training cut in two is one training, also where the loss draws pixels."""
    images()
    if model_type == "WBSRModel":
        options["model_type"] = model_type
        options["network_g"] = {"type": "Supernet", "backbone": options["network_g"], "widths": [2, 4], "depths": [1]}
        options["val"] = {"val_freq": 100, "save_img": False, "dynamic": {"routing": "full"}}
    else:
        options["val"] = None
    options["train"] |= {"pixel_opt": {"type": "BDLoss", "form": "monte_carlo", "samples": 8}, "total_iter": 10}
    options["datasets"]["train"] |= {"type": "HESPairedImageDataset", "hes": {"num_classes": 2, "stride": 4}}
    options["logger"] |= {"use_tb_logger": False, "save_checkpoint_freq": 5}
    write_options(options)
    run = ["-m", "wbsr", "train", "-opt", "options.yml"]
    start_python(*run).output()
    models = tmp_path / "experiments/tiny/models"
    whole = params(models / "net_g_10.pth")
    for folder, name in (("models", "net_g_10.pth"), ("models", "net_g_latest.pth"), ("training_states", "10.state")):
        (tmp_path / "experiments/tiny" / folder / name).unlink()
    (models / ".net_g_10.pth.999999999.part").touch()  # as a kill leaves it
    output = start_python(*run, "--auto_resume").output()
    assert "iter: 5." in output
    assert not list(models.glob(".*"))
    state = torch.load(tmp_path / "experiments/tiny/training_states/10.state", weights_only=True)
    assert set(state["losses"]["cri_pix"]) == {"generator", "device"}
    assert torch.equal(params(models / "net_g_10.pth"), whole)


def test_a_cosine_training_is_prolonged(images, options, write_options, start_python, tmp_path):
    images()
    options["train"] |= {"scheduler": dict(COSINE), "total_iter": 20}
    options["logger"] |= {"use_tb_logger": False}
    options["val"] = None
    write_options(options)
    run = ["-m", "wbsr", "train", "-opt", "options.yml"]
    start_python(*run).output()
    options["train"] |= {"scheduler": COSINE | {"periods": [40]}, "total_iter": 40}
    options["datasets"]["train"]["dataset_enlarge_ratio"] = 8
    write_options(options)
    output = start_python(*run, "--auto_resume").output()
    assert "holds from iteration 21 on: train:scheduler:periods 20 → 40." in output
    iterations = [int(i) for i in re.findall(r"iter: +(\d+), lr", output)]
    assert iterations == list(range(21, 41))
