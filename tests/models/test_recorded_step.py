"""Recorded steps do what steps do, bit for bit: weights, averages, the optimiser's state, losses and outputs.

Recordings are made by `tape.py`, which keeps to the rules of CUDA graphs; marked tests compare with those.
"""

import copy
import gc
import pickle
import weakref

import cv2
import numpy as np
import pytest
import torch
from tape import TapeRecorder

from wbsr import compat

compat.install()

from wbsr_arch import Subnet  # noqa: E402
from wbsr_base.basicsr import SRModel  # noqa: E402
from wbsr_base.hooks import following  # noqa: E402
from wbsr_base.hooks import recorded as hook  # noqa: E402
from wbsr_base.recorded_step import Rates, RecordedStep  # noqa: E402
from wbsr_data import DDAPairedImageDataset, HESPairedImageDataset  # noqa: E402
from wbsr_losses import BDLoss, GaussianMixture  # noqa: E402
from wbsr_models import ClassSRModel, WBSRModel  # noqa: E402

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
SUPERNET = {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]}
CLASSSR = {"type": "ClassSR", "backbone": BACKBONE, "widths": [4, 6, 8]}
SMALL, FULL = Subnet(4, 1), Subnet(8, 2)
ITERATIONS = 40
NETWORKS = {WBSRModel: SUPERNET, ClassSRModel: CLASSSR, SRModel: BACKBONE}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def mixture(tmp_path):
    path = tmp_path / "mixture.json"
    GaussianMixture([0.6, 0.4], [[0.3] * 3, [0.7] * 3], (0.04 * torch.eye(3)).expand(2, 3, 3)).save(path)
    return str(path)


def options(kind, **train):
    """What BasicSR makes of an option file for one CPU process."""
    return {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "datasets": {
            "train": {"type": "HESPairedImageDataset", "gt_size": 16, "hes": {"num_classes": 3, "score": "bilinear"}}
        },
        "network_g": copy.deepcopy(NETWORKS[kind]),
        "path": {"resume_state": "as if the branches were trained"},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.002, "fused": True, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [8, 20], "gamma": 0.5},
            "total_iter": ITERATIONS,
            "ema_decay": 0.9,
            "pixel_opt": {"type": "L1Loss"},
            **copy.deepcopy(train),
        },
        "val": {},
    }


def batch(iteration, size=4):
    generator = torch.Generator().manual_seed(iteration)
    return {
        "lq": torch.rand(size, 3, 8, 8, generator=generator),
        "gt": torch.rand(size, 3, 16, 16, generator=generator),
        "lq_path": ["image.png"] * size,
        "difficulty": torch.randint(1, 4, (size,), generator=generator),
        "thresholds": torch.tensor([[0.1, 0.2]]).repeat(size, 1),
    }


def make(kind, recorder=None, warm_ups=2, **train):
    """A model, whose steps are recorded if there is a recorder."""
    torch.manual_seed(0)
    model = kind(options(kind, **train))
    model.said = []
    if recorder is not None:
        model.recordings = RecordedStep(model.optimizer_g, model.device, recorder, model.said.append, warm_ups)
    if isinstance(model.cri_pix, BDLoss):
        model.cri_pix.deferred = True  # as on a GPU
    return model


def step(model, iteration, warm_up=-1, data=None):
    model.update_learning_rate(iteration, warm_up)
    model.feed_data(data or batch(iteration))
    model.optimize_parameters(iteration)


def validate(model):
    """One image, as a validation between two steps feeds it."""
    model.feed_data(batch(1000, size=1))
    model.test()


def assert_same(found, expected):
    """Two models, after the same step."""
    assert torch.equal(found.output, expected.output)
    assert found.get_current_log() == expected.get_current_log()
    assert found.get_current_learning_rate() == expected.get_current_learning_rate()
    networks = ["net_g"] + ["net_g_ema"] * hasattr(expected, "net_g_ema")
    for name in networks:
        pairs = zip(getattr(found, name).named_parameters(), getattr(expected, name).named_parameters(), strict=True)
        for (key, one), (_, other) in pairs:
            assert torch.equal(one, other), f"{name} {key}"
    names = [name for name, _ in expected.net_g.named_parameters()]
    states = [
        [model.optimizer_g.state.get(weight) for weight in model.net_g.parameters()] for model in (found, expected)
    ]
    for name, one, other in zip(names, *states, strict=True):
        assert (one is None) == (other is None), name
        for key in other or {}:
            assert torch.equal(one[key], other[key]), f"{name} {key}"


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        (WBSRModel, {}),
        (WBSRModel, {"ema_decay": 0, "warmup_iter": 15}),
        (WBSRModel, {"weight_penalty": 1e-3, "compute": {"clip_norm": 0.05}}),
        (WBSRModel, {"compute": {"precision": "bf16", "channels_last": True}}),
        (WBSRModel, {"scheduler": {"type": "CosineAnnealingRestartLR", "periods": [40], "restart_weights": [1]}}),
        (WBSRModel, {"supernet": {"power": 1.0, "full_first": 0.3}}),
        (WBSRModel, {"pixel_opt": {"type": "BDLoss"}}),
        (WBSRModel, {"pixel_opt": {"type": "BDLoss", "form": "gaussian"}}),
        (WBSRModel, {"supernet": {"strategy": "sandwich"}}),
        (WBSRModel, {"supernet": {"strategy": "sandwich"}, "compute": {"precision": "bf16", "clip_norm": 0.05}}),
        (
            WBSRModel,
            {"supernet": {"strategy": "sandwich", "distillation": 0.5, "subnet_weight": 0.1}, "weight_penalty": 1e-3},
        ),
        (WBSRModel, {"supernet": {"strategy": "all"}}),
        (WBSRModel, {"supernet": {"strategy": "all", "distillation": 0.5, "full_first": 0.2}}),
        (ClassSRModel, {"classsr": {"stage": "classifier"}}),
        (ClassSRModel, {"classsr": {"stage": "joint"}, "compute": {"precision": "bf16"}}),
        (SRModel, {}),
        (SRModel, {"ema_decay": 0, "warmup_iter": 15, "pixel_opt": {"type": "BDLoss"}}),
    ],
    ids=str,
)
def test_a_recorded_training_is_the_same_to_the_last_bit(kind, train, mixture):
    if train.get("pixel_opt", {}).get("type") == "BDLoss":
        train = {**train, "pixel_opt": {**train["pixel_opt"], "mixture": mixture}}
    recorder = TapeRecorder()
    found, expected = make(kind, recorder, **train), make(kind, **train)
    for iteration in range(1, ITERATIONS + 1):
        for model in (found, expected):
            step(model, iteration, train.get("warmup_iter", -1))
        assert_same(found, expected)
    assert found.said == []
    assert recorder.tapes
    assert recorder.replays >= ITERATIONS - 2 * len(found.recordings._steps)
    assert found.recordings.recordings == len(recorder.tapes)


@pytest.mark.parametrize("compute", [{}, {"clip_norm": 0.05}], ids=str)
def test_a_recorded_step_clips_what_is_unusual_and_leaves_out_what_is_no_number(compute):
    recorder = TapeRecorder()
    models = [make(WBSRModel, recorder, compute=compute), make(WBSRModel, compute=compute)]
    for model in models:
        model.compute.guard.resume({"norms": [1e-3] * 100, "counts": [0.0, 0.0]})
    for iteration in range(1, ITERATIONS + 1):
        data = batch(iteration)
        data["lq"][0, 0, 0, 0] = float("nan") if iteration % 10 == 0 else 0.5
        for model in models:
            step(model, iteration, data=data)
        for one, other in zip(*(model.net_g.parameters() for model in models), strict=True):
            assert torch.equal(one, other)
            assert one.isfinite().all()
        states = [model.compute.guard.state() for model in models]
        assert states[0] == states[1]
    clipped, left_out = states[0]["counts"]
    assert clipped >= 5
    assert left_out == 4
    assert recorder.replays >= ITERATIONS / 2


class Reading(torch.nn.L1Loss):
    """A loss that looks at its value."""

    def forward(self, pred, target):
        loss = super().forward(pred, target)
        return loss if loss.item() > 0 else 2 * loss


class Blind(TapeRecorder):
    """One that sees nobody wait."""

    def watch(self, function):
        return function(), None


@pytest.fixture
def resident(tmp_path):
    """Makes a training set whose images stay on a device, and its loader: `batches` says how to feed them."""

    def make(kind=HESPairedImageDataset, seed=0, deep=False, device="cpu", hes=None, **more):
        folder, rng = tmp_path / f"images_{seed}", np.random.default_rng(seed)
        for name, side in (("lr", 24), ("hr", 48)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(3):
                pixels = rng.integers(0, 2**16 if deep else 256, (side, side + side // 4, 3))
                cv2.imwrite(str(folder / name / f"{number}.png"), pixels.astype(np.uint16 if deep else np.uint8))
        roots = {"dataroot_gt": str(folder / "hr"), "dataroot_lq": str(folder / "lr"), "io_backend": {"type": "disk"}}
        turns = {"use_hflip": True, "use_rot": True, "hes": {"num_classes": 3, "cache": False, **(hes or {})}}
        where = {"name": "train", "phase": "train", "resident": device}
        dataset = kind({"scale": 2, "gt_size": 16, **where, **roots, **turns, **more})
        sampler = dataset.training_sampler(batches_per_epoch=50, batch_size=4, total_iterations=50)
        place = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
        return dataset, dataset.training_loader(sampler, 4, place)

    return make


class ByClass(WBSRModel):
    """A model with a loss that looks at the classes of its patches."""

    def image_losses(self, output, batch):
        errors = (output - batch.hr).abs().mean((1, 2, 3))
        return {**super().image_losses(output, batch), "l_hard": (errors * batch.difficulty).mean()}


NETWORKS[ByClass] = SUPERNET


@pytest.mark.parametrize(
    ("kind", "train", "more"),
    [
        (WBSRModel, {}, {}),
        (ByClass, {}, {}),
        (WBSRModel, {"compute": {"precision": "bf16", "channels_last": True, "clip_norm": 0.05}}, {"deep": True}),
        (
            WBSRModel,
            {"supernet": {"strategy": "sandwich", "distillation": 0.5}},
            {"mean": [0.4, 0.5, 0.6], "std": [2] * 3},
        ),
        (WBSRModel, {"pixel_opt": {"type": "BDLoss"}, "weight_penalty": 1e-3}, {}),
        (ClassSRModel, {"classsr": {"stage": "joint"}}, {}),
        (SRModel, {}, {}),
        (SRModel, {"pixel_opt": {"type": "BDLoss"}}, {"mean": [0.4, 0.5, 0.6], "std": [2] * 3}),
    ],
    ids=str,
)
def test_a_recorded_step_cuts_its_own_patches_out_of_resident_images(kind, train, more, mixture, resident):
    if train.get("pixel_opt", {}).get("type") == "BDLoss":
        train = {**train, "pixel_opt": {**train["pixel_opt"], "mixture": mixture}}
    recorder = TapeRecorder()
    found, expected = make(kind, recorder, **train), make(kind, **train)
    loaders = [iter(resident(**more)[1]) for _ in range(2)]
    for iteration in range(1, ITERATIONS + 1):
        drawn, cut = next(loaders[0]), dict(next(loaders[1]))
        step(found, iteration, data=drawn)
        step(expected, iteration, data=cut)
        assert drawn.draws is not None  # nobody cut it beside the step
        assert_same(found, expected)
        assert torch.equal(found.lq, cut["lq"])
        assert torch.equal(found.gt, cut["gt"])
        if iteration % 7 == 0:
            for model in (found, expected):
                validate(model)
    assert found.said == []
    assert recorder.replays >= ITERATIONS - 2 * len(found.recordings._steps)
    for tape in recorder.tapes:
        assert sum(func.overloadpacket.__name__ == "index_select" for func, *_ in tape.operators) >= 2


@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_dda_follows_recorded_steps_on_resident_images(kind, resident):
    models, loaders = [make(kind, TapeRecorder()), make(kind)], []
    for model in models:
        dataset, loader = resident(DDAPairedImageDataset, hes={"refresh": 5})
        following.follow(dataset, model)
        loaders.append(iter(loader))
    for iteration in range(1, ITERATIONS + 1):
        drawn, cut = next(loaders[0]), dict(next(loaders[1]))
        assert drawn["lq_path"] == cut["lq_path"]
        for model, data in zip(models, (drawn, cut), strict=True):
            step(model, iteration, data=data)
        assert drawn.draws is not None
        assert_same(*models)
    one, other = (model.follower.training_extras()["class_losses"] for model in models)
    assert one == other
    assert models[0].recordings.recordings > 0


def brighter(kind, when):
    """A model that changes its LR patches: in the batch, when it has been fed them, or right before the step."""

    class Brighter(kind):
        def feed_data(self, data):
            if when == "batch":
                data["lq"] = data["lq"] + 0.25
            super().feed_data(data)
            if when == "fed":
                self.lq = self.lq + 0.25
            if when == "taken from the batch":
                self.lq = data["lq"] + 0.25
            if when == "beside the HR patches":
                self.gt = data["gt"] * 1.0
                self.lq = self.lq + 0.25

        def optimize_parameters(self, current_iter):
            if when == "step":
                self.lq = self.lq + 0.25
            super().optimize_parameters(current_iter)

    Brighter.__name__ = kind.__name__
    NETWORKS[Brighter] = NETWORKS[kind]
    return Brighter


@pytest.mark.parametrize("when", ["batch", "fed", "step", "taken from the batch", "beside the HR patches"])
@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_patches_that_a_model_changes_are_those_that_its_step_takes(kind, when, resident):
    kind = brighter(kind, when)
    recorder = TapeRecorder()
    models = [make(kind, recorder), make(kind)]
    loaders = [iter(resident()[1]) for _ in models]
    for iteration in range(1, 15):
        drawn, cut = next(loaders[0]), dict(next(loaders[1]))
        plain = cut["lq"].clone()
        step(models[0], iteration, data=drawn)
        step(models[1], iteration, data=cut)
        assert_same(*models)
        assert torch.equal(models[0].lq, plain + 0.25)
    assert recorder.replays > 0


@pytest.mark.parametrize("when", ["batch", "fed"])
def test_classes_that_somebody_changes_are_those_that_the_step_takes(when, resident):
    recorder = TapeRecorder()
    models = [make(ByClass, recorder), make(ByClass)]
    loaders = [iter(resident()[1]) for _ in models]
    for iteration in range(1, 11):
        drawn, cut = next(loaders[0]), dict(next(loaders[1]))
        for model, data in zip(models, (drawn, cut), strict=True):
            model.update_learning_rate(iteration)
            if when == "batch":
                data["difficulty"] = data["difficulty"] + 4
            model.feed_data(data)
            if when == "fed":
                model.difficulty = model.difficulty + 4
            model.optimize_parameters(iteration)
        assert_same(*models)
        assert (models[0].difficulty > 4).all()
    assert recorder.replays > 0


def test_a_copy_of_a_batch_is_a_dictionary_of_its_own(resident):
    one, other = (next(iter(resident()[1])) for _ in range(2))
    for copied in (copy.copy(one), copy.deepcopy(other), pickle.loads(pickle.dumps(next(iter(resident()[1]))))):
        assert type(copied) is dict
        assert torch.equal(copied["gt"], one["gt"])
        assert list(copied) == list(one)
    one["lq"] = torch.zeros(1)
    assert copy.copy(one)["lq"].shape == (1,)
    del other["difficulty"]
    other["lq"] = torch.zeros(1)
    assert dict(other.items()).keys() == one.keys() - {"difficulty"}


@pytest.mark.parametrize("key", ["lq", "gt"])
def test_a_batch_that_somebody_reads_after_it_was_fed_is_trained_on_all_the_same(key, resident):
    models = [make(SRModel, TapeRecorder()), make(SRModel)]
    loaders = [iter(resident()[1]) for _ in models]
    for iteration in range(1, 9):
        for model, loader in zip(models, loaders, strict=True):
            model.update_learning_rate(iteration)
            model.feed_data(data := next(loader))
            assert data[key].shape[0] == 4
            model.optimize_parameters(iteration)
        assert_same(*models)


def test_a_model_tests_the_batch_that_it_was_fed_last(resident):
    """Cut or not, and nothing is left of a batch without HR where there was one before."""
    model = make(SRModel, TapeRecorder())
    _, loader = resident()
    batches = iter(loader)
    assert not hasattr(model, "gt")
    step(model, 1, data=next(batches))
    model.feed_data(data := next(batches))
    model.test()
    assert torch.equal(model.get_current_visuals()["lq"], data["lq"])
    assert torch.equal(model.get_current_visuals()["gt"], data["gt"])
    model.feed_data(next(batches))
    del model.gt
    assert hasattr(model, "lq")
    del model.lq
    assert not hasattr(model, "gt")
    with pytest.raises(AttributeError, match="SRModel has no lq: no batch that has one was fed"):
        model.test()


def test_a_step_takes_the_batch_that_was_fed_last(resident):
    model, batches = make(SRModel, TapeRecorder()), iter(resident()[1])
    for iteration in range(1, 7):
        model.feed_data(next(batches))
        step(model, iteration, data=(ready := batch(iteration)))
        assert torch.equal(model.lq, ready["lq"])


def test_images_of_another_loader_are_recorded_apart_and_stay_as_long_as_their_recordings(resident):
    models = [make(SRModel, TapeRecorder()), make(SRModel)]
    sets = [[resident(seed=seed)[1] for seed in (0, 1)] for _ in models]
    batches = [[iter(loader) for loader in loaders] for loaders in sets]
    for iteration in range(1, 13):
        for model, loaders in zip(models, batches, strict=True):
            data = next(loaders[iteration % 2])
            step(model, iteration, data=dict(data) if model is models[1] else data)
        assert_same(*models)
    assert models[0].recordings.recordings == 2
    images = weakref.ref(sets[0][0]._batches)
    sets.clear()
    batches.clear()
    del loaders, data
    gc.collect()
    assert images() is not None
    models[0].recordings.forget()
    gc.collect()
    assert images() is None


@pytest.mark.parametrize("recorder", [TapeRecorder, Blind], ids=["watching", "blind"])
@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_a_step_that_can_not_be_recorded_cuts_its_patches_too(kind, recorder, resident):
    models = [make(kind, recorder()), make(kind)]
    loaders = [iter(resident()[1]) for _ in models]
    for model in models:
        model.cri_pix = Reading()
    for iteration in range(1, 13):
        for model, loader in zip(models, loaders, strict=True):
            step(model, iteration, data=next(loader))
        assert_same(*models)
        assert torch.equal(models[0].gt, models[1].gt)
    assert len(models[0].said) == 1


def test_rates_are_lent_to_optimisers_of_every_kind_while_recording(monkeypatch):
    """PyTorch asks some for `capturable` then; SGD does not know it."""
    monkeypatch.setattr("torch.cuda.is_current_stream_capturing", lambda: True)
    for kind, capturable in ((torch.optim.Adam, True), (torch.optim.SGD, None)):
        optimizer = kind([torch.nn.Parameter(torch.ones(2))], 0.5, fused=True)
        rates = Rates(optimizer, torch.device("cpu"))
        rates._on_cuda = True
        before = dict(group := optimizer.param_groups[0])
        rates.write()
        with rates.lent():
            assert group["lr"].item() == 0.5
            assert group.get("capturable") is capturable
        assert group == before


def test_a_subnets_step_leaves_weights_beyond_it_alone(monkeypatch):
    """They have no gradient under the eager step, and Adam passes them over: a zero would move them by momentum."""
    recorder = TapeRecorder()
    models = [make(WBSRModel, recorder), make(WBSRModel)]
    for iteration, subnet in enumerate([FULL] * 5 + [SMALL] * 5, 1):
        monkeypatch.setattr("wbsr_models.wbsr_model.draw_subnets", lambda *_, subnet=subnet: [subnet])
        for model in models:
            before = model.supernet.body[1].conv1.weight.clone()
            step(model, iteration)
            assert torch.equal(model.supernet.body[1].conv1.weight, before) == (subnet == SMALL)
    assert recorder.replays == 6
    for model in models:
        weight = model.supernet.body[1].conv1.weight
        assert model.optimizer_g.state[weight]["step"] == 5
        assert model.optimizer_g.state[model.supernet.conv_first.weight]["step"] == 10


def test_batches_of_another_size_are_recorded_apart():
    recorder = TapeRecorder()
    found, expected = make(SRModel, recorder), make(SRModel)
    for iteration in range(1, 13):
        for model in (found, expected):
            step(model, iteration, data=batch(iteration, size=2 + iteration % 2))
        assert_same(found, expected)
    assert len(recorder.tapes) == 2


def test_a_rate_that_somebody_changes_is_taken_over():
    found, expected = make(SRModel, TapeRecorder()), make(SRModel)
    for iteration in range(1, 9):
        for model in (found, expected):
            if iteration == 6:
                model.optimizer_g.param_groups[0]["lr"] = 0.1
            step(model, iteration)
    assert_same(found, expected)
    assert isinstance(found.optimizer_g.param_groups[0]["lr"], float)


@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_validations_saved_states_and_a_resume_go_on(kind, tmp_path):
    recorder = TapeRecorder()
    found, expected = make(kind, recorder), make(kind)
    for iteration in range(1, 25):
        for model in (found, expected):
            step(model, iteration)
            validate(model)
    states = []
    for name, model in (("found", found), ("expected", expected)):
        model.opt["path"].update(training_states=str(tmp_path))
        model.save_training_state(0, 24)
        state = torch.load(tmp_path / "24.state", weights_only=True)
        assert all(type(group["lr"]) is float for each in state["optimizers"] for group in each["param_groups"]), name
        states.append(state)
    assert recorder.replays > 0
    again, on = make(kind, TapeRecorder()), make(kind)
    for model, state, source in ((again, states[0], found), (on, states[1], expected)):
        model.net_g.load_state_dict(source.net_g.state_dict())
        model.net_g_ema.load_state_dict(source.net_g_ema.state_dict())
        model.resume_training(state)
    for iteration in range(25, 41):
        for model in (again, on):
            step(model, iteration)
        assert_same(again, on)


def test_a_resume_in_the_middle_drops_what_was_recorded():
    recorder = TapeRecorder()
    model = make(SRModel, recorder)
    for iteration in range(1, 6):
        step(model, iteration)
    assert model.recordings.recordings == 1
    state = {
        "optimizers": [model.optimizer_g.state_dict()],
        "schedulers": [each.state_dict() for each in model.schedulers],
    }
    model.resume_training(copy.deepcopy(state))
    assert model.recordings.recordings == 0


@pytest.mark.parametrize("warm_ups", [1, 2])
def test_a_step_that_waits_for_the_device_runs_as_ever_and_the_log_says_so_once(warm_ups):
    recorder = TapeRecorder()
    found, expected = make(WBSRModel, recorder, warm_ups), make(WBSRModel)
    for model in (found, expected):
        model.cri_pix = Reading()
    for iteration in range(1, 13):
        for model in (found, expected):
            step(model, iteration)
        assert_same(found, expected)
    assert found.said == ["the host waits for the device in a step (_local_scalar_dense): steps run as ever"]
    assert recorder.tapes == []


@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_a_recording_that_fails_leaves_the_step_to_run_as_ever(kind):
    found, expected = make(kind, Blind()), make(kind)
    for model in (found, expected):
        model.cri_pix = Reading()
    for iteration in range(1, 13):
        for model in (found, expected):
            step(model, iteration)
        assert_same(found, expected)
    (said,) = found.said
    assert said.startswith("the step can't be recorded (operation _local_scalar_dense not permitted while recording)")


def test_of_many_kinds_of_steps_some_are_recorded_and_the_log_says_so_once():
    recorder = TapeRecorder()
    found, expected = make(WBSRModel, recorder), make(WBSRModel)
    found.recordings._most = 2
    for iteration in range(1, ITERATIONS + 1):
        for model in (found, expected):
            step(model, iteration)
    assert_same(found, expected)
    assert len(recorder.tapes) == 2
    assert found.said == ["2 kinds of steps are recorded; further ones run as ever"]


def refused(kind, monkeypatch, cuda=True, **train):
    """What the log says of a model whose option file asks for graphs."""
    said = []
    logger = type("Logger", (), {"warning": lambda self, text: said.append(text), "info": lambda self, text: None})
    monkeypatch.setattr("basicsr.utils.get_root_logger", logger)
    compute = {"graphs": True, **train.pop("compute", {})}
    torch.manual_seed(0)
    model = kind(options(kind, compute=compute, **train))
    assert model.recordings is None
    step(model, 1)
    return said


@pytest.mark.parametrize("kind", [WBSRModel, SRModel])
def test_on_a_cpu_steps_run_as_ever_and_the_log_says_so(kind, monkeypatch):
    reason = "CUDA graphs need a CUDA device, and this training runs on the cpu"
    assert refused(kind, monkeypatch) == [f"train:compute:graphs: steps run as ever, for {reason}."]


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        (
            WBSRModel,
            {"compute": {"precision": "fp16"}},
            "the loss scale of precision: fp16 is changed by the host: use bf16",
        ),
        (WBSRModel, {"optim_g": {"type": "Adam", "lr": 1e-3, "foreach": True}}, "optim_g must be fused"),
        (SRModel, {"optim_g": {"type": "Adam", "lr": 1e-3, "fused": False}}, "optim_g must be fused"),
        (WBSRModel, {"pixel_opt": {"type": "BDLoss", "form": "monte_carlo"}}, "the loss draws at random by itself"),
        (ClassSRModel, {"classsr": {"stage": "branches"}}, "stage `branches` sorts the patches of a batch by class"),
        (WBSRModel, {}, None),
        (WBSRModel, {"supernet": {"strategy": "all", "distillation": 1.0}}, None),
        (ClassSRModel, {"classsr": {"stage": "joint"}}, None),
        (SRModel, {}, None),
    ],
    ids=str,
)
def test_what_is_known_not_to_be_recordable_says_why(kind, change, reason):
    model = make(kind, **change)
    model.device = torch.device("cuda")
    found = hook.unrecordable(model) if kind is SRModel else model.unrecordable()
    assert found == reason if reason is None else found.startswith(reason)


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("opt", {"dist": True, "num_gpu": 1}, "in a training of one process on one GPU"),
        ("opt", {"dist": False, "num_gpu": 2}, "in a training of one process on one GPU"),
        ("cri_perceptual", torch.nn.L1Loss(), "perceptual_opt is not recorded"),
    ],
    ids=str,
)
def test_processes_and_perceptual_losses_are_not_recorded(attribute, value, reason):
    model = make(SRModel)
    model.device = torch.device("cuda")
    setattr(model, attribute, value)
    assert reason in hook.unrecordable(model)


def test_a_stock_model_knows_no_other_key_of_compute():
    with pytest.raises(ValueError, match=r"train:compute: unknown key 'precision' \(known: graphs\)"):
        make(SRModel, compute={"precision": "bf16"})


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "train"),
    [
        (WBSRModel, {}),
        (
            WBSRModel,
            {"compute": {"precision": "bf16", "channels_last": True, "clip_norm": 0.05}, "weight_penalty": 1e-3},
        ),
        (WBSRModel, {"pixel_opt": {"type": "BDLoss"}, "warmup_iter": 16}),
        (WBSRModel, {"supernet": {"strategy": "sandwich", "distillation": 0.5, "subnet_weight": 0.1}}),
        (ClassSRModel, {"classsr": {"stage": "joint"}}),
        (SRModel, {"pixel_opt": {"type": "BDLoss"}}),
    ],
    ids=str,
)
def test_50_steps_by_cuda_graphs_are_50_steps(kind, train, mixture, monkeypatch):
    """Rates that float32 holds exactly, and kernels that repeat: then nothing should differ."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    if train.get("pixel_opt", {}).get("type") == "BDLoss":
        train = {**train, "pixel_opt": {**train["pixel_opt"], "mixture": mixture}}
    models = []
    for graphs in (True, False):
        torch.manual_seed(0)
        compute = {**train.get("compute", {}), "graphs": graphs}
        given = {
            **train,
            "optim_g": {"type": "Adam", "lr": 2**-9},
            "compute": compute if kind is not SRModel or graphs else {},
        }
        models.append(kind({**options(kind, **given), "num_gpu": 1}))
    found, expected = models
    assert found.recordings is not None
    for iteration in range(1, 51):
        for model in models:
            step(model, iteration, train.get("warmup_iter", -1))
        assert found.get_current_log() == pytest.approx(expected.get_current_log(), rel=1e-4)
        if iteration == 30:
            for model in models:
                validate(model)
    assert found.recordings.recordings >= 1
    for one, other in zip(found.net_g.parameters(), expected.net_g.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    for one, other in zip(found.net_g_ema.parameters(), expected.net_g_ema.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("recorder", ["watching", "blind"])
def test_a_step_that_reads_a_value_falls_back_on_a_gpu(recorder, monkeypatch):
    if recorder == "blind":
        monkeypatch.setattr("wbsr_base.recording._is_wait", lambda warning: False)
    torch.manual_seed(0)
    model = SRModel({**options(SRModel, compute={"graphs": True}), "num_gpu": 1})
    said = []
    model.recordings._report = said.append
    model.cri_pix = Reading()
    for iteration in range(1, 9):
        step(model, iteration)
    (text,) = said
    assert text.startswith("the host waits" if recorder == "watching" else "the step can't be recorded")
    assert all(weight.isfinite().all() for weight in model.net_g.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "train"),
    [(WBSRModel, {"compute": {"precision": "bf16", "channels_last": True}}), (SRModel, {})],
    ids=str,
)
def test_cuda_graphs_cut_the_patches_of_their_draws_and_no_step_waits(kind, train, resident):
    """The host runs ahead of the steps: none may find the draws of a later one."""
    models, taken = [], []
    for graphs in (True, False):
        compute = {**train.get("compute", {}), "graphs": graphs}
        given = {"optim_g": {"type": "Adam", "lr": 2**-9}, "compute": compute if kind is not SRModel or graphs else {}}
        torch.manual_seed(0)
        models.append(kind({**options(kind, **given), "num_gpu": 1}))
    assert models[0].recordings is not None
    loaders = [iter(resident(device="cuda")[1]) for _ in models]
    for model, loader in zip(models, loaders, strict=True):
        sums = []
        try:
            for iteration in range(1, 51):
                if iteration > 35:  # all kinds of steps are recorded
                    torch.cuda.set_sync_debug_mode("error")
                drawn = next(loader)
                step(model, iteration, data=drawn)
                assert (drawn.draws is not None) == (model is models[0])
                sums.append(torch.stack([model.lq.double().sum(), model.gt.double().sum()]))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        taken.append(torch.stack(sums).cpu())
    assert torch.equal(*taken)
    found, expected = models
    assert found.recordings.recordings >= 1
    for one, other in zip(found.net_g.parameters(), expected.net_g.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
