"""What a training takes, pixel by pixel: digests that were recorded once, so that no change of the code changes what an
experiment has drawn. Draws, crops, flips and tensors go into them, of every stage, sampling, rank and resume."""

import hashlib

import numpy as np
import pytest

from wbsr_data import DDAPairedImageDataset, HESPairedImageDataset

PLAN = {"batches_per_epoch": 5, "batch_size": 4, "total_iterations": 20, "seed": 1}


@pytest.fixture
def images(pairs, write_pair):
    """The six pairs, and one of 16 bits and of another size."""
    deep = np.random.default_rng(1).integers(0, 2**16, (90, 80, 3), dtype=np.uint16)
    write_pair(pairs, "6.png", deep)
    return pairs


def digest(items):
    found = hashlib.sha256()
    for item in items:
        for key in ("lq", "gt", "thresholds"):
            found.update(item[key].numpy().tobytes())
        found.update(f"{item['difficulty']} {item['lq_path'][-5:]} {item['gt_path'][-5:]}".encode())
    return found.hexdigest()[:16]


def items(dataset, **plan):
    """All items of a training of four epochs, or from epoch 1 on of a resumed one."""
    sampler = dataset.training_sampler(**{**PLAN, **plan})
    for epoch in range(1 if "start_iteration" in plan else 0, 4):
        sampler.set_epoch(epoch)
        yield from (dataset[draw] for draw in sampler)


@pytest.mark.parametrize(
    ("hes", "more", "plan", "expected"),
    [
        pytest.param({}, {}, {}, "f338932b00be15fc", id="hes"),
        pytest.param({"sample_level": 0.1}, {}, {}, "b4a335d9f492b5a4", id="hes, both stages in one epoch"),
        pytest.param(
            {"thresholds": "linear", "delta": 0.5, "sample_level": 0.0, "max_repeat": 3.0},
            {},
            {},
            "19f1c42ebecd754b",
            id="hes, linear",
        ),
        pytest.param({"score": "mean", "sample_level": 0.3}, {}, {}, "4f3803b1256477a8", id="hes, another score"),
        pytest.param({"sampling": "uniform"}, {}, {}, "bfcc63f120d9f617", id="uniform"),
        pytest.param({"sampling": "samplingaug"}, {}, {}, "d667b969937cfac2", id="samplingaug"),
        pytest.param({"sampling": "bspa", "stride": 5}, {}, {}, "4b055725a7ea030e", id="bspa"),
        pytest.param({"seed": 9}, {}, {}, "7e011a04c1fd8ab9", id="a seed of its own"),
        pytest.param({}, {}, {"seed": None}, "c62656363c8200a8", id="no seed"),
        pytest.param({"decoded_mb": 0}, {"gt_size": 40}, {}, "0a580804dc253fda", id="decoded anew, larger patches"),
        pytest.param({}, {"use_rot": False}, {}, "52f14ed2ed42d1dd", id="horizontal flips alone"),
        pytest.param({}, {"use_hflip": False}, {}, "04451566192c6d81", id="no horizontal flips"),
        pytest.param({}, {"use_hflip": False, "use_rot": False}, {}, "ad31eabb58ba89c4", id="no flips"),
        pytest.param({}, {"mean": [0.4, 0.5, 0.6], "std": [1.0, 2.0, 0.5]}, {}, "a219366a2925f03c", id="mean and std"),
        pytest.param({}, {}, {"batch_size": 2, "rank": 0, "world_size": 2}, "cd1505ad505cecd5", id="rank 0 of 2"),
        pytest.param({}, {}, {"batch_size": 2, "rank": 1, "world_size": 2}, "4dd6af50a0c21332", id="rank 1 of 2"),
        pytest.param({}, {}, {"start_iteration": 7}, "e37ff307ab091269", id="resumed"),
        pytest.param(
            {}, {}, {"start_iteration": 7, "rank": 2, "world_size": 3}, "86f6c3602c35f27c", id="resumed, rank 2 of 3"
        ),
    ],
)
def test_a_training_takes_what_it_has_always_taken(images, options, hes, more, plan, expected):
    assert digest(items(HESPairedImageDataset(options(images, hes, **more)), **plan)) == expected


def test_without_a_sampler_it_takes_what_it_has_always_taken(images, options):
    assert digest(HESPairedImageDataset(options(images))) == "01129df37b43ea15"


def followed(dataset, start=0, state=None, **plan):
    """All items of a training of 40 iterations that reports made-up losses of the classes."""
    course = {"batches_per_epoch": 10, "batch_size": 4, "total_iterations": 40, "start_iteration": start, "seed": 1}
    sampler = dataset.training_sampler(**course, **plan)
    if state is not None:
        dataset.resume_training(state)
    taken = 4 * start
    for epoch in range(start // 10, 4):
        sampler.set_epoch(epoch)
        for draw in sampler:
            yield dataset[draw]
            taken += 1
            if taken % 24 == 0:
                section = taken // 24
                losses = [0.1, 0.1, 0.2, 0.6] if section < 4 else [0.6, float("nan"), 0.1, 0.1]
                dataset.meter.losses.update(section, losses)


@pytest.mark.parametrize(
    ("hes", "plan", "expected"),
    [
        ({}, {}, "b2ce84f7475e32a7"),
        ({"sample_level": 0.5}, {}, "c5e70f111889f493"),
        ({}, {"rank": 1, "world_size": 2}, "e751768557b01bc3"),
    ],
    ids=["all of it", "uniform at first", "rank 1 of 2"],
)
def test_dda_takes_what_it_has_always_taken(images, options, hes, plan, expected):
    assert digest(followed(DDAPairedImageDataset(options(images, {"refresh": 6, **hes})), **plan)) == expected


def test_dda_goes_on_with_what_it_has_always_taken(images, options):
    first, second = (DDAPairedImageDataset(options(images, {"refresh": 6})) for _ in range(2))
    stopped = followed(first)
    for _ in range(4 * 26):
        next(stopped)
    assert digest(followed(second, start=26, state=first.training_extras())) == "1d9f1c7ccfd08712"
