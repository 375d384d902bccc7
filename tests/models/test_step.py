"""A training step: the weights of a plain one to the last bit, no reads by the host, and few operators of its own."""

import copy
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wbsr_arch import ClassSR, Subnet, Supernet
from wbsr_losses.mixture import GaussianMixture
from wbsr_models import ClassSRModel, WBSRModel
from wbsr_models.training.classsr_losses import average_loss, class_loss
from wbsr_models.training.compute import Compute, ComputeOptions
from wbsr_models.training.moving_average import MovingAverage
from wbsr_models.training.step import Batch, Pass, TrainingStep, read_losses

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from step_operators import (
    PARTS,
    Methods,
    Operators,
    count_beside_recording,
    count_step,
    models,
    reads,
    resident_batches,
)

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
SUPERNET = {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]}
CLASSSR = {"type": "ClassSR", "backbone": BACKBONE, "widths": [4, 6, 8]}
SMALL, FULL = Subnet(4, 1), Subnet(8, 2)
ITERATIONS = 12
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks of this size are done before a second thread has started."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(network, **train):
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
            "train": {
                "type": "HESPairedImageDataset",
                "gt_size": 16,
                "hes": {"num_classes": 3, "score": "bilinear"},
            }
        },
        "network_g": network,
        "path": {},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.002},
            "scheduler": {"type": "MultiStepLR", "milestones": [8], "gamma": 0.5},
            "total_iter": ITERATIONS,
            "ema_decay": 0.9,
            "pixel_opt": {"type": "L1Loss"},
            **train,
        },
        "val": {},
    }


def batch(iteration, size=6):
    generator = torch.Generator().manual_seed(iteration)
    return {
        "lq": torch.rand(size, 3, 8, 8, generator=generator),
        "gt": torch.rand(size, 3, 16, 16, generator=generator),
        "lq_path": ["image.png"] * size,
        "difficulty": torch.randint(1, 4, (size,), generator=generator),
        "thresholds": torch.tensor([[0.1, 0.2]]).repeat(size, 1),
    }


class PlainTraining:
    """A network's training as a loop over its tensors, by the options of `train`."""

    def __init__(self, network, train):
        self.network, self.train, self.options = network, train, train.get("compute", {})
        self.weights = list(network.parameters())
        self.averages = [weight.detach().clone() for weight in self.weights]
        self.trained = [weight for weight in self.weights if weight.requires_grad]
        self.optimizer = torch.optim.Adam(self.trained, train["optim_g"]["lr"], foreach=False)
        self.half = HALVES.get(self.options.get("precision"))
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.half == torch.float16)

    def __call__(self, rate, passes):
        """One step over passes, each a function that returns its losses."""
        self.optimizer.param_groups[0]["lr"] = rate
        for weight in self.weights:
            weight.grad = None
        for losses in passes:
            self.scaler.scale(sum(losses())).backward()
        self.scaler.unscale_(self.optimizer)
        penalty = self.train.get("weight_penalty", 0)
        for weight in self.trained if penalty else ():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = gradient.add(weight.detach(), alpha=2 * penalty)
        if "clip_norm" in self.options:
            torch.nn.utils.clip_grad_norm_(self.trained, self.options["clip_norm"], foreach=False)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        for average, weight in zip(self.averages, self.weights, strict=True):
            if weight.requires_grad:
                average.mul_(0.9).add_(weight.detach(), alpha=1 - 0.9)
            else:
                average.copy_(weight.detach())

    def run(self, *arguments, **named):
        """The network's output, in float32; the last layer puts that out."""
        if self.half is None:
            return self.network(*arguments, **named)
        with torch.autocast("cpu", self.half), self._last_layers_put_out_float32():
            return self.network(*arguments, **named)

    @contextmanager
    def _last_layers_put_out_float32(self):
        def forward(x, layer):
            return type(layer).forward(layer, x).float()

        for layer in self.network.output_layers:
            layer.forward = lambda x, layer=layer: forward(x, layer)
        yield
        for layer in self.network.output_layers:
            del layer.forward


def assert_equal(model, plain):
    """The weights are the same, and their moving averages too."""
    pairs = [(model.supernet, plain.weights)]
    if hasattr(model, "net_g_ema"):
        pairs.append((model.net_g_ema, plain.averages))
    for network, expected in pairs:
        for (name, found), weight in zip(network.named_parameters(), expected, strict=True):
            assert torch.equal(found, weight), name


@pytest.mark.parametrize(
    ("strategy", "train"),
    [
        ("random", {}),
        ("random", {"ema_decay": 0, "warmup_iter": 5}),
        ("random", {"weight_penalty": 1e-3, "compute": {"clip_norm": 0.05}}),
        ("random", {"compute": {"precision": "bf16"}}),
        ("random", {"compute": {"channels_last": True}}),
        ("sandwich", {}),
        ("sandwich", {"weight_penalty": 1e-3}),
        ("sandwich", {"compute": {"precision": "bf16", "clip_norm": 0.05}}),
        ("sandwich", {"compute": {"precision": "fp16", "clip_norm": 0.05}, "weight_penalty": 1e-3}),
        ("sandwich", {"supernet": {"distillation": 0.5}}),
        ("all", {}),
        ("all", {"supernet": {"distillation": 0.5, "full_first": 0.2}, "compute": {"precision": "bf16"}}),
    ],
    ids=str,
)
def test_a_supernets_training_is_a_plain_one(strategy, train):
    own = train.get("supernet", {})
    torch.manual_seed(0)
    model = WBSRModel(options(SUPERNET, **{**copy.deepcopy(train), "supernet": {**own, "strategy": strategy}}))
    network = Supernet(**{key: value for key, value in SUPERNET.items() if key != "type"})
    network.load_state_dict(model.supernet.state_dict())
    if train.get("compute", {}).get("channels_last"):
        network.to(memory_format=torch.channels_last)
    plain, drawn = PlainTraining(network, {**model.opt["train"], **train}), []
    model.net_g.register_forward_pre_hook(lambda _, arguments: drawn.append(arguments[1]))
    for iteration in range(1, ITERATIONS + 1):
        data = batch(iteration)
        drawn.clear()
        model.update_learning_rate(iteration, train.get("warmup_iter", -1))
        model.feed_data(data)
        model.optimize_parameters(iteration)
        teacher = []

        def losses(subnet, data=data, teacher=teacher):
            x = data["lq"].contiguous(memory_format=model.compute_options.memory_format)
            output = plain.run(x, subnet)
            yield model.cri_pix(output, data["gt"])
            if teacher:
                yield 0.5 * F.l1_loss(output, teacher[0])
            elif "distillation" in own:
                teacher.append(output.detach())

        plain(model.get_current_learning_rate()[0], [lambda s=s: losses(s) for s in drawn])
        assert_equal(model, plain)


@pytest.mark.parametrize("compute", [{}, {"precision": "bf16", "clip_norm": 0.5}], ids=str)
@pytest.mark.parametrize("stage", ["branches", "classifier", "joint"])
def test_a_stage_of_classsr_is_a_plain_training(stage, compute, tmp_path):
    torch.manual_seed(0)
    network = ClassSR(**{key: value for key, value in CLASSSR.items() if key != "type"})
    torch.save({"params": network.state_dict()}, tmp_path / "start.pth")
    opt = options(CLASSSR, classsr={"stage": stage}, compute=compute)
    opt["path"] = {"pretrain_network_g": str(tmp_path / "start.pth")}
    model = ClassSRModel(opt)
    network.branches.requires_grad_(stage != "classifier")
    network.classifier.requires_grad_(stage != "branches")
    plain = PlainTraining(network, {**model.opt["train"], "compute": compute})
    for iteration in range(1, ITERATIONS + 1):
        data = batch(iteration)
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)

        def losses(data=data):
            if stage == "branches":
                return [model.cri_pix(plain.run(data["lq"], classes=data["difficulty"]), data["gt"])]
            output, probabilities = plain.run(data["lq"], mixed=True)
            output, probabilities = output.float(), probabilities.float()
            image = model.cri_pix(output, data["gt"])
            return [2000.0 * image, class_loss(probabilities), 6.0 * average_loss(probabilities)]

        plain(model.get_current_learning_rate()[0], [losses])
        assert_equal(model, plain)


@pytest.mark.parametrize(
    "train",
    [
        {"supernet": {"strategy": "random"}},
        {"supernet": {"strategy": "sandwich"}, "weight_penalty": 1e-3},
        {"supernet": {"strategy": "all", "distillation": 0.5}},
        {"compute": {"precision": "bf16", "channels_last": True, "clip_norm": 0.05}},
    ],
    ids=str,
)
def test_a_step_reads_nothing_on_the_host_before_its_losses_are_logged(train):
    model = WBSRModel(options(SUPERNET, optim_g={"type": "Adam", "lr": 0.002, "fused": True}, **copy.deepcopy(train)))
    model.feed_data(batch(1))  # from which the thresholds of the classes are read, once
    model.optimize_parameters(1)
    with Operators() as operators, Methods() as methods:
        for iteration in range(2, 6):
            model.update_learning_rate(iteration)
            model.feed_data(batch(iteration))
            model.optimize_parameters(iteration)
    assert reads(operators, methods) == {}
    with Operators() as operators, Methods() as methods:
        losses = model.get_current_log()
    found = reads(operators, methods)  # at the log line; the other two are the check for numbers that are none
    assert found.pop("tolist") == 1
    assert set(found) <= {"_local_scalar_dense", "__float__"}
    assert {type(value) for value in losses.values()} == {float}


def test_neither_does_one_with_bdloss_whose_errors_come_with_the_log(tmp_path):
    covariances = 0.01 * torch.eye(3).expand(2, 3, 3)
    GaussianMixture([0.5, 0.5], torch.tensor([[0.2] * 3, [0.7] * 3]), covariances).save(tmp_path / "mixture.json")
    loss = {"type": "BDLoss", "mixture": str(tmp_path / "mixture.json")}
    model = WBSRModel(options(SUPERNET, optim_g={"type": "Adam", "lr": 0.002, "fused": True}, pixel_opt=loss))
    model.cri_pix.deferred = True  # as on a GPU
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    broken = batch(2)
    broken["gt"][0, 0, 0, 0] = torch.nan
    with Operators() as operators, Methods() as methods:
        model.feed_data(broken)
        model.optimize_parameters(2)
    assert reads(operators, methods) == {}
    with pytest.raises(ValueError, match="the target must be finite, got 1 values of NaN or infinity"):
        model.get_current_log()


@pytest.mark.parametrize("stage", ["classifier", "joint"])
def test_a_step_of_classsrs_later_stages_reads_nothing_on_the_host(stage):
    opt = options(CLASSSR, classsr={"stage": stage}, optim_g={"type": "Adam", "lr": 0.002, "fused": True})
    opt["path"] = {"resume_state": "branches.state"}  # as if they were trained
    model = ClassSRModel(opt)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    with Operators() as operators, Methods() as methods:
        model.feed_data(batch(2))
        model.optimize_parameters(2)
    assert reads(operators, methods) == {}


@pytest.mark.parametrize(("loss", "most"), [("BDLoss", 60), ("L1Loss", 32)])
def test_a_step_adds_few_operators_to_those_of_the_network_and_reads_nothing(loss, most, tmp_path):
    """Under WBSRModel and BasicSR's SRModel, by the counts of `benchmarks/step_operators.py`."""
    counted = []
    for name, model in models(tmp_path, loss, "fp32", small=True):
        count_step(model, 1)
        operators, methods = count_step(model, 2)
        assert reads(operators, methods) == {}, name
        parts = {part: operators.of(part) for part in PARTS}
        assert sum(parts.values()) - parts["network"] <= most, name
        assert parts["EMA"] == 2, name
        assert parts["optimiser"] == (2 if name == "SRModel" else 3), name  # the third takes back a step left out
        subnet = () if name == "SRModel" else (model.passes(2)[0].key,)
        model.optimizer_g.zero_grad()
        with Operators() as network:
            output = model.net_g(model.lq, *subnet)
            output.backward(torch.ones_like(output))
        assert parts["network"] == network.counts.total() - network.counts["ones_like"], name
        assert operators.counts.total() == sum(parts.values())
        counted.append(name)
    assert counted == ["WBSRModel, w8d2", "WBSRModel, w4d1", "SRModel"]


def test_beside_its_recording_a_step_on_resident_images_launches_three_operators(tmp_path):
    """Draws, classes and learning rate go to where the recording finds them; patches are cut within it."""
    for name, model in models(tmp_path, "BDLoss", "bf16", small=True):
        operators, methods = count_beside_recording(model, resident_batches(tmp_path, size=3))
        assert +operators.counts == {"copy_": 1 if name == "SRModel" else 2, "fill_": 1}, name
        assert reads(operators, methods) == {}, name
        assert model.recordings.recordings == 1, name


def test_weights_that_no_pass_reaches_keep_no_gradient_and_no_momentum(monkeypatch):
    model = WBSRModel(options(SUPERNET))
    for iteration, subnet in ((1, FULL), (2, SMALL)):
        monkeypatch.setattr("wbsr_models.wbsr_model.draw_subnets", lambda *_, subnet=subnet: [subnet])
        before = {name: weight.detach().clone() for name, weight in model.supernet.named_parameters()}
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
    deep = [(name, weight) for name, weight in model.supernet.named_parameters() if name.startswith("body.1.")]
    assert deep
    for name, weight in deep:
        assert weight.grad is None
        assert torch.equal(weight, before[name])
        assert model.optimizer_g.state[weight]["step"] == 1
    assert model.optimizer_g.state[model.supernet.conv_first.weight]["step"] == 2


def test_moments_take_the_memory_layout_of_the_resumed_training():
    """A fused kernel walks through weights and moments side by side."""

    def make(channels_last):
        fused = {"type": "Adam", "lr": 0.002, "fused": True}
        return WBSRModel(options(SUPERNET, optim_g=fused, compute={"channels_last": channels_last, "clip_ratio": None}))

    start, found = make(True), []
    start.feed_data(batch(1))
    start.optimize_parameters(1)
    state = {
        "iter": 1,
        "optimizers": [start.optimizer_g.state_dict()],
        "schedulers": [start.schedulers[0].state_dict()],
    }
    for channels_last in (True, False):
        model = make(channels_last)
        model.net_g.load_state_dict(start.net_g.state_dict())
        model.resume_training(copy.deepcopy(state))
        for weight in model.optimizer_g.param_groups[0]["params"]:
            gradient = torch.arange(float(weight.numel())).view(weight.shape)
            weight.grad = torch.empty_like(weight).copy_(gradient)  # laid out as autograd does, as the weight
        model.compute.step(model.optimizer_g)
        found.append([weight.detach() for weight in model.net_g.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_passes_are_called_by_their_subnets():
    model = WBSRModel(options(SUPERNET, supernet={"strategy": "all"}))
    passes = model.passes(1)
    assert [each.key for each in passes] == list(model.supernet.subnets)
    assert [each.averages for each in passes] == [False, False, False, True]
    taught = WBSRModel(options(SUPERNET, supernet={"strategy": "all", "distillation": 0.5})).passes(1)
    assert [each.key for each in taught] == list(reversed(model.supernet.subnets))
    assert [each.teaches for each in taught] == [True, False, False, False]
    assert all(each.averages for each in taught)


def linear_step(weights, passes, **options):
    network = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(weights)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    step = TrainingStep(network, optimizer, Compute(ComputeOptions(), torch.device("cpu")), **options)
    batch = Batch(torch.eye(2), torch.zeros(2, 2))
    return network, step(batch, [Pass(number, run(network), number == 0) for number, run in enumerate(passes)])


def test_gradients_add_up_over_the_passes_and_a_loss_is_the_mean_over_those_that_have_it():
    def first(network):
        return lambda batch: (network(batch.lr), {"both": network(batch.lr).sum(), "one": network.weight[0, 0] * 3})

    def second(network):
        return lambda batch: (2 * network(batch.lr), {"both": 5 * network(batch.lr).sum()})

    start = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    network, (output, losses) = linear_step(start, [first, second])
    assert torch.equal(network.weight, start - torch.tensor([[9.0, 6.0], [6.0, 6.0]]))
    assert torch.equal(output, 2 * start.T)
    assert not output.requires_grad
    assert read_losses(losses) == {"both": (10 + 50) / 2, "one": 3.0}


def test_the_passes_after_a_teacher_learn_its_output():
    def teacher(network):
        return lambda batch: (network(batch.lr), {"l": network(batch.lr).sum()})

    def student(network):
        return lambda batch: (batch.teacher, {"l": (batch.teacher * network(batch.lr)).sum()})

    start = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    network, (output, _) = linear_step(start, [teacher, student])
    assert torch.equal(output, start.T)
    assert torch.equal(network.weight, start - 1 - start)


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_the_average_is_that_of_one_tensor_after_the_other_and_frozen_weights_are_copied(decay):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 4))
    network[1].requires_grad_(False)
    average = copy.deepcopy(network)
    expected = [weight.detach().clone() for weight in average.parameters()]
    follow = MovingAverage(average, network, decay)
    for _ in range(20):
        with torch.no_grad():
            for weight in network.parameters():
                weight += torch.randn_like(weight)
        follow.update()
        for own, weight in zip(expected, network.parameters(), strict=True):
            if weight.requires_grad:
                own.mul_(decay).add_(weight.data, alpha=1 - decay)
            else:
                own.copy_(weight)
    for found, own in zip(average.parameters(), expected, strict=True):
        assert torch.equal(found, own)
