"""Errors arrive where BasicSR hangs, prints or names nothing: prefetching, registries, loading a network."""

import time

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from wbsr import compat


class Broken(Dataset):
    """Three samples, of which one can't be read."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index == 1:
            raise ValueError("image 1 is damaged")
        return torch.tensor(index)


@pytest.mark.timeout(30)
def test_an_error_in_the_dataset_reaches_the_training_loop_when_prefetching():
    compat.install()
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    prefetcher = CPUPrefetcher(PrefetchDataLoader(num_prefetch_queue=1, dataset=Broken(), batch_size=1))
    prefetcher.reset()
    assert prefetcher.next().item() == 0
    with pytest.raises(ValueError, match="image 1 is damaged"):
        prefetcher.next()


def test_prefetching_keeps_the_order_reads_ahead_and_ends():
    from wbsr_base.compat.prefetch import prefetch

    read = []
    batches = prefetch((read.append(i) or i for i in range(5)), 2)
    assert read == []  # BasicSR makes a reader that it never uses
    assert next(batches) == 0
    deadline = time.monotonic() + 10
    while len(read) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read == [0, 1, 2, 3]  # one handed out, two in the queue, one in the hand
    assert list(batches) == [1, 2, 3, 4]


def test_an_unknown_type_is_told_with_the_nearest_name(capsys):
    compat.install()
    from basicsr.utils.registry import ARCH_REGISTRY

    with pytest.raises(KeyError, match="no arch is called 'MSRResNt': did you mean 'MSRResNet'"):
        ARCH_REGISTRY.get("MSRResNt")
    assert ARCH_REGISTRY.get("MSRResNet").__name__ == "MSRResNet"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"half a file", "can't be read as a checkpoint"),
        ({"other": {}}, r"hold none of this network's weights, such as weight: its keys are other \(0 entries\)"),
        (
            {"params": nn.Conv2d(1, 1, 3).state_dict()},
            r"than Linear, .*: weight is \(1, 1, 3, 3\) there and \(2, 2\) here",
        ),
    ],
)
def test_a_network_file_that_does_not_fit_is_named(content, reason, tmp_path):
    compat.install()
    from basicsr.models.base_model import BaseModel

    path = tmp_path / "net_g_5.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"net_g_5\.pth.*{reason}"):
        object.__new__(BaseModel).load_network(nn.Linear(2, 2), str(path))
