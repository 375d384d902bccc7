"""Two processes train one supernet as one process with the double batch does, resume, and validate together."""

import json
import shutil
import socket
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

OPTIONS = Path(__file__).parents[2] / "options" / "train" / "SRResNet"
# Gradients are exchanged once a step, in the full network's pass, or where that does not run: for all subnets alike.
STRATEGIES = [{"strategy": "sandwich", "random_subnets": 1}, {"strategy": "random"}]

# Notes, for each rank, what every iteration does and what a validation finds; then is the command `wbsr`.
SPY = """
import hashlib, json, sys
import wbsr.plugin
from wbsr.cli import main
from wbsr_models import classsr_model, wbsr_model

def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors)).hexdigest()

def note(model, **what):
    with open(f"rank{model.opt['rank']}.jsonl", "a") as file:
        file.write(json.dumps(what) + "\\n")

class Noting:
    def optimize_parameters(self, current_iter):
        patches = [digest([patch]) for patch in self.gt]
        super().optimize_parameters(current_iter)
        note(self, iteration=current_iter, patches=patches, weights=digest(self.supernet.parameters()), **self.drawn())

    def _log_validation_metric_values(self, *arguments):
        self.images = len(self._run.reports)
        super()._log_validation_metric_values(*arguments)

    def validation(self, *arguments):
        super().validation(*arguments)
        note(self, metrics=self.metric_results, images=self.images)

class WBSRSpy(Noting, wbsr_model.WBSRModel):
    def drawn(self):
        subnets = wbsr_model.draw_subnets(self.strategy, self.supernet.flops, self.seed, self.iteration)
        return {"subnets": list(map(str, subnets))}

class ClassSRSpy(Noting, classsr_model.ClassSRModel):
    def drawn(self):
        return {"losses": self.get_current_log()}

wbsr_model.MODEL_REGISTRY._obj_map.update(WBSRModel=WBSRSpy, ClassSRModel=ClassSRSpy)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path):
    """HR/LR pairs at x2 in data/hr and data/lr, three for validation in data/val_*, and the spy."""
    rng = np.random.default_rng(0)
    for name, count in (("", 8), ("val_", 3)):
        for kind, side in (("hr", 64), ("lr", 32)):
            (tmp_path / "data" / f"{name}{kind}").mkdir(parents=True)
            for i in range(count):
                image = rng.integers(90, 94, (side, side, 3), np.uint8)  # nearly flat, yet no two patches are alike
                image[:, side // 2 :] = rng.integers(0, 256, (side, side // 2, 3))
                cv2.imwrite(str(tmp_path / "data" / f"{name}{kind}" / f"{i}.png"), image)
    (tmp_path / "spy.py").write_text(SPY)
    return tmp_path


def wbsr_options(strategy, **changes):
    opt = {**shipped("WBSR_SRResNet_x2"), **changes}
    opt["network_g"].update(widths=[4, 8], depths=[1, 2])
    opt["datasets"]["train"]["hes"].update(num_classes=4, stride=4, sample_level=0.5)
    opt["train"].update(
        total_iter=12,
        ema_decay=0.9,
        pixel_opt={"type": "L1Loss"},
        supernet=strategy,
        compute={"clip_norm": 1.0},
    )
    return opt


def classsr_options(stage, weights):
    """Of a stage of ClassSR that starts from a network."""
    opt = shipped(f"ClassSR_SRResNet_x2_{stage}")
    opt["network_g"]["widths"] = [4, 6, 8]
    opt["datasets"]["train"]["hes"]["stride"] = 4
    opt["path"]["pretrain_network_g"] = weights
    opt["train"]["total_iter"] = 4
    return opt


def shipped(name):
    return yaml.safe_load((OPTIONS / f"{name}.yml").read_text(encoding="utf-8"))


def write_options(folder, opt, batch):
    """Write options that train a small network on the pairs of the folder, and validate at the end."""
    opt["network_g"]["backbone"].update(num_feat=8, num_block=2)
    train, val = opt["datasets"]["train"], opt["datasets"]["val"]
    train.update(dataroot_gt="data/hr", dataroot_lq="data/lr", gt_size=16, batch_size_per_gpu=batch)
    train.update(num_worker_per_gpu=0, dataset_enlarge_ratio=2)
    val.update(dataroot_gt="data/val_hr", dataroot_lq="data/val_lr")
    opt["val"]["val_freq"] = opt["train"]["total_iter"]
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 4, "use_tb_logger": False}
    (folder / "options.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")


@pytest.fixture
def run(start_python):
    """Train in a folder and return what each rank noted, the iterations and the last validation."""

    def begin(folder, processes, more):
        command = ["spy.py", "train", "-opt", "options.yml", *more]
        environment = {"CUDA_VISIBLE_DEVICES": ""}
        if processes == 1:
            return [start_python(*command, folder=folder, **environment)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # What torchrun tells its processes.
        environment |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command += ["--launcher", "pytorch"]
        ranks = map(str, range(processes))
        return [start_python(*command, folder=folder, RANK=rank, LOCAL_RANK=rank, **environment) for rank in ranks]

    def noted(path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if "iteration" in line], lines[-1]

    def run(folder, opt, processes, *more):
        write_options(folder, opt, 4 // processes)
        for process in begin(folder, processes, more):
            process.output()
        return [noted(folder / f"rank{rank}.jsonl") for rank in range(processes)]

    return run


def final_weights(folder):
    (experiment,) = (folder / "experiments").iterdir()
    content = torch.load(experiment / "models" / "net_g_latest.pth", weights_only=True)
    return {f"{key} {name}": weight for key in ("params", "params_ema") for name, weight in content[key].items()}


def assert_same_weights(one, other):
    found, expected = final_weights(one), final_weights(other)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, atol=1e-5), name


def beside(folder, name):
    """A folder with the same data and the spy."""
    other = folder / name
    other.mkdir()
    for entry in ("data", "spy.py"):
        (other / entry).symlink_to(folder / entry)
    return other


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda block: block["strategy"])
def test_two_processes_do_what_one_does_and_resume(folder, run, strategy):
    first, second = run(folder, wbsr_options(strategy), 2)
    steps = list(zip(first[0], second[0], strict=True))
    assert [one["iteration"] for one, _ in steps] == list(range(1, 13))
    for one, other in steps:
        assert one["subnets"] == other["subnets"]
        assert (len(one["subnets"]) == 1) == (strategy["strategy"] == "random")
        assert one["weights"] == other["weights"]
    assert len({one["weights"] for one, _ in steps}) == 12

    alone = beside(folder, "alone")
    (single,) = run(alone, wbsr_options(strategy), 1)
    assert_same_weights(folder, alone)
    for (one, other), both in zip(steps, single[0], strict=True):
        assert both["subnets"] == one["subnets"]
        assert Counter(one["patches"] + other["patches"]) == Counter(both["patches"])  # no draw twice, none left out
    assert [first[1]["images"], second[1]["images"], single[1]["images"]] == [2, 1, 3]
    for metric, value in single[1]["metrics"].items():
        assert first[1]["metrics"][metric] == second[1]["metrics"][metric] == pytest.approx(value, abs=1e-3)

    again = beside(folder, "again")
    shutil.copytree(folder / "experiments", again / "experiments")
    for state in (again / "experiments" / "WBSR_SRResNet_x2" / "training_states").iterdir():
        if state.name != "4.state":
            state.unlink()
    resumed = run(again, wbsr_options(strategy), 2, "--auto_resume")
    for rank, (whole, _) in zip(resumed, (first, second), strict=True):
        assert [step["subnets"] for step in rank[0]] == [step["subnets"] for step in whole[4:]]
        assert [step["patches"] for step in rank[0]] == [step["patches"] for step in whole[4:]]
    assert [step["weights"] for step in resumed[0][0]] == [step["weights"] for step in resumed[1][0]]
    assert_same_weights(again, folder)


def test_without_a_seed_two_processes_still_share_one(folder, run):
    first, second = run(folder, wbsr_options(STRATEGIES[1], manual_seed=None), 2)
    for one, other in zip(first[0], second[0], strict=True):
        assert one["subnets"] == other["subnets"]
        assert one["weights"] == other["weights"]
    epoch = [patch for noted in (first, second) for step in noted[0][:4] for patch in step["patches"]]
    assert len(set(epoch)) == len(epoch) == 16  # the draws of an epoch are different patches, shared out


def test_two_processes_train_the_stages_of_classsr_as_one_does(folder, run):
    """The second stage trains less than the third, by the same losses."""
    weights = None
    for stage, losses in (("1branches", {"l_pix"}), ("3joint", {"l_pix", "l_class", "l_average"})):
        together, alone = beside(folder, stage), beside(folder, f"{stage}_alone")
        first, second = run(together, classsr_options(stage, weights), 2)
        (single,) = run(alone, classsr_options(stage, weights), 1)
        for one, other, both in zip(first[0], second[0], single[0], strict=True):
            assert one["weights"] == other["weights"]
            assert Counter(one["patches"] + other["patches"]) == Counter(both["patches"])
            assert one["losses"] == pytest.approx(both["losses"], rel=1e-4)
            assert losses <= set(both["losses"])
        assert_same_weights(together, alone)
        assert first[1]["metrics"] == second[1]["metrics"] == pytest.approx(single[1]["metrics"], abs=1e-3)
        weights = str(together / "experiments" / f"ClassSR_SRResNet_x2_{stage}" / "models" / "net_g_latest.pth")
