"""A training step against a plain one, which takes one tensor after the other: the same weights to the last bit."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional as F

from wbsr_arch import ClassSR, Supernet
from wbsr_models import ClassSRModel, WBSRModel
from wbsr_models.training.classsr_losses import average_loss, class_loss

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
SUPERNET = {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]}
CLASSSR = {"type": "ClassSR", "backbone": BACKBONE, "widths": [4, 6, 8]}
ITERATIONS = 12
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
        """The network's output, in float32; only its last layer computes in that."""
        if self.half is None:
            return self.network(*arguments, **named)
        with torch.autocast("cpu", self.half), self._last_layers_in_float32():
            return self.network(*arguments, **named)

    @contextmanager
    def _last_layers_in_float32(self):
        def forward(x, layer):
            with torch.autocast("cpu", enabled=False):
                return type(layer).forward(layer, x.float())

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
