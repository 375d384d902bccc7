"""A loss that finds out later what went wrong is asked at the log line, and before anything is saved."""

import copy

import pytest
import torch
from torch import nn

from wbsr_base.basicsr import SRModel
from wbsr_base.hooks.checking import check_losses
from wbsr_losses import BDLoss


class Bad(nn.Module):
    def check(self):
        raise ValueError("this went wrong")


@pytest.fixture
def model(options, tmp_path):
    """BasicSR's own SRModel on the CPU, with a BDLoss that leaves its errors to `check`."""
    loss = {"type": "BDLoss", "form": "monte_carlo"}
    path = options["path"] | {"models": str(tmp_path / "models"), "training_states": str(tmp_path / "states")}
    for folder in ("models", "states"):
        (tmp_path / folder).mkdir()
    train = options["train"] | {"pixel_opt": loss}
    model = SRModel(options | {"num_gpu": 0, "dist": False, "is_train": True, "path": path, "train": train})
    assert isinstance(model.cri_pix, BDLoss)
    model.cri_pix.deferred = True
    return model


def step(model, value):
    model.feed_data({"lq": torch.full((1, 3, 8, 8), value), "gt": torch.rand(1, 3, 16, 16)})
    model.optimize_parameters(1)


def test_the_log_line_names_what_went_wrong_and_then_forgets_it(model):
    step(model, 0.5)
    assert set(model.get_current_log()) == {"l_pix"}
    step(model, float("nan"))
    with pytest.raises(
        ValueError, match=r"the prediction must be finite, got 768 values of NaN .*no checkpoint is from"
    ):
        model.get_current_log()
    with pytest.raises(ValueError, match="the training went astray: l_pix is nan"):  # the weights have not forgotten
        model.get_current_log()


@pytest.mark.parametrize(
    "save", [lambda m: m.save(0, 5), lambda m: m.save(-1, -1), lambda m: m.save_training_state(0, 5)]
)
def test_nothing_is_saved_of_a_training_that_went_wrong(model, save, tmp_path):
    before = copy.deepcopy(model.net_g.state_dict())
    step(model, float("nan"))
    with pytest.raises(ValueError, match="the prediction must be finite"):
        save(model)
    for net in (model.net_g, model.net_g_ema):
        net.load_state_dict(before)
    assert not [*(tmp_path / "models").iterdir(), *(tmp_path / "states").iterdir()]
    model.save(0, 5)
    assert len([*(tmp_path / "models").iterdir(), *(tmp_path / "states").iterdir()]) == 2


def test_only_modules_that_check_later_are_asked(model):
    model.validator = type("Validator", (), {"check": lambda self, image: None})()  # another agreement
    model.cri_perceptual = nn.L1Loss()
    check_losses(model)
    model.cri_other = Bad()
    with pytest.raises(ValueError, match="this went wrong"):
        check_losses(model)


def test_a_training_ends_at_its_log_line_and_leaves_no_later_checkpoint(
    images, options, write_options, start_program, tmp_path
):
    options["logger"] |= {"print_freq": 4, "save_checkpoint_freq": 2}
    options["train"]["pixel_opt"] = {"type": "BDLoss", "form": "monte_carlo"}
    images(10)
    process = start_program(
        """
        import wbsr.plugin
        import basicsr.train
        from wbsr_losses import BDLoss
        from basicsr.models.sr_model import SRModel

        fed = []

        def feed(self, data, real=SRModel.feed_data):
            fed.append(data)
            real(self, data)
            if len(fed) == 3:
                self.lq = self.lq * float("nan")

        BDLoss.deferred, SRModel.feed_data = True, feed
        basicsr.train.train_pipeline(".")
        """,
        "-opt",
        write_options(options),
    )
    said = process.output(1)
    assert "NotFiniteError: the prediction must be finite, got 3072 values of NaN or infinity" in said
    assert "model.get_current_log()" in said
    assert [path.name for path in tmp_path.rglob("*.pth")] == ["net_g_2.pth"]
