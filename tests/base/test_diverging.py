"""A training whose weights are no numbers any more stops, with the iteration and the last good checkpoint."""

import logging
import math

import pytest
import torch

from wbsr_base.basicsr import SRModel, get_root_logger
from wbsr_base.hooks.diverging import not_finite


@pytest.fixture
def model(options, tmp_path):
    """BasicSR's own SRModel on the CPU."""
    path = options["path"] | {"models": str(tmp_path / "models"), "training_states": str(tmp_path / "states")}
    for folder in ("models", "states"):
        (tmp_path / folder).mkdir()
    return SRModel(options | {"num_gpu": 0, "dist": False, "is_train": True, "path": path})


def step(model, value, iteration=7):
    model.update_learning_rate(iteration)
    model.feed_data({"lq": torch.full((1, 3, 8, 8), value), "gt": torch.rand(1, 3, 16, 16)})
    model.optimize_parameters(iteration)


def test_the_log_line_stops_it_and_names_iteration_and_checkpoint(model):
    step(model, 0.5, 5)
    model.save(0, 5)
    assert math.isfinite(model.get_current_log()["l_pix"])
    step(model, math.nan, 7)
    with pytest.raises(
        ValueError,
        match=r"went astray: l_pix is nan \(iteration 7, .*the last good checkpoint is that of iteration 5: lower .*lr",
    ):
        model.get_current_log()


@pytest.mark.parametrize("part", ["net_g", "net_g_ema"])
def test_weights_that_are_no_numbers_are_not_saved(model, part, tmp_path):
    getattr(model, part).conv_last.bias.data[1] = math.inf
    with pytest.raises(ValueError, match=r"net_g is not saved, for its conv_last.bias is no number any more"):
        model.save(0, 5)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_loss_that_is_not_finite_alone_is_warned_of_five_times(model, caplog):
    """As in half precision, where a step is left out if it overflows."""
    get_root_logger().addHandler(caplog.handler)
    for _ in range(4):
        step(model, 0.5)
        model.log_dict = {"l_pix": torch.tensor(math.inf)}
        model.get_current_log()
    assert caplog.text.count("l_pix is inf in iteration 7, but all weights are finite") == 4
    model.log_dict = {"l_pix": torch.tensor(math.inf)}
    with pytest.raises(ValueError, match="the training went astray: l_pix is inf"):
        model.get_current_log()
    get_root_logger().removeHandler(caplog.handler)


def test_a_finite_line_begins_the_count_anew(model):
    for value in (math.inf, math.inf, 1.0, math.inf, math.inf, math.inf, math.inf):
        model.log_dict = {"l_pix": torch.tensor(value)}
        model.get_current_log()


def test_a_weight_is_named():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert not_finite(net) is None
    net[1].running_var[0] = math.nan
    assert not_finite(net) == "1.running_var"
    assert not_finite(torch.nn.ReLU()) is None


def test_a_step_reads_nothing_on_the_host(model, monkeypatch):
    """The looking is at log lines and before saving."""
    read = []
    monkeypatch.setattr("wbsr_base.hooks.diverging.not_finite", lambda net: read.append(net))
    for iteration in range(1, 4):
        step(model, 0.5, iteration)
    assert read == []


@pytest.mark.parametrize("model_type", ["SRModel", "WBSRModel"])
def test_a_training_at_an_absurd_rate_ends_with_exit_code_2(
    images, options, write_options, start_python, tmp_path, model_type
):
    images()
    if model_type == "WBSRModel":
        options |= {"model_type": model_type}
        options["network_g"] = {"type": "Supernet", "backbone": options["network_g"], "widths": [4], "depths": [1]}
        options["val"]["dynamic"] = {"routing": "full"}
    options["train"] |= {"total_iter": 40, "ema_decay": 0}
    options["train"]["optim_g"] |= {"lr": 1e14}
    options["logger"] |= {"print_freq": 4, "save_checkpoint_freq": 1}
    write_options(options)
    last = start_python("-m", "wbsr", "train", "-opt", "options.yml").output(2).strip().splitlines()[-1]
    assert last.startswith("wbsr: error: ")
    assert "the last good checkpoint is that of iteration" in last
    assert "lower train:optim_g:lr and go on from there by --auto_resume" in last
    for path in (tmp_path / "experiments/tiny/models").iterdir():
        assert all(weight.isfinite().all() for weight in torch.load(path, weights_only=True)["params"].values())


def test_the_iteration_is_told_where_a_loss_finds_out_by_itself(images, options, write_options, start_python):
    images()
    options["train"]["pixel_opt"] = {"type": "BDLoss", "form": "monte_carlo"}
    options["train"]["optim_g"] |= {"lr": 1e14}
    write_options(options)
    output = start_python("-m", "wbsr", "train", "-opt", "options.yml").output(2)
    assert "wbsr: error: the prediction must be finite" in output or "wbsr: error: the loss is not finite" in output
    assert "(iteration " in output.strip().splitlines()[-1]


def test_logging_is_left_as_it_was():
    assert logging.getLogger("basicsr").level in (logging.NOTSET, logging.INFO, logging.WARNING)
