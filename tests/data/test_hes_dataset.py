"""The data set in BasicSR: what it returns, which draws it takes, and its errors."""

import copy
import logging
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wbsr import compat

compat.install()

from basicsr.data import build_dataset  # noqa: E402
from basicsr.data.paired_image_dataset import PairedImageDataset  # noqa: E402
from basicsr.utils.lmdb_util import make_lmdb_from_imgs  # noqa: E402

from wbsr.cli import user_message  # noqa: E402
from wbsr_data import HESPairedImageDataset  # noqa: E402

PLAN = {"batches_per_epoch": 5, "batch_size": 4, "total_iterations": 20, "seed": 1}


def same_items(a, b):
    return all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)


def run(dataset, epochs, num_workers=0, batch_size=4, first_epoch=0, **plan):
    """(classes, pixels) of each batch of a training over `epochs` epochs."""
    sampler = dataset.training_sampler(**{**PLAN, "batch_size": batch_size, **plan})
    loader = DataLoader(dataset, batch_size, sampler=sampler, num_workers=num_workers, drop_last=True)
    batches = []
    for epoch in range(first_epoch, first_epoch + epochs):
        sampler.set_epoch(epoch)
        batches += [(batch["difficulty"].tolist(), batch["lq"].sum((1, 2, 3)).tolist()) for batch in loader]
    return batches


def to_lmdb(folder, *sides):
    for side in sides:
        names = sorted(path.name for path in (folder / side).iterdir())
        make_lmdb_from_imgs(str(folder / side), str(folder / f"{side}.lmdb"), names, [n.split(".")[0] for n in names])


def lmdb_options(options, folder, **more):
    roots = {"dataroot_gt": str(folder / "hr.lmdb"), "dataroot_lq": str(folder / "lr.lmdb")}
    return options(folder, io_backend={"type": "lmdb"}, **roots, **more)


def test_an_item_is_a_crop_of_its_pair(pairs, options):
    dataset = build_dataset(options(pairs, type="HESPairedImageDataset", use_hflip=False, use_rot=False))
    item = dataset[3]
    assert item["lq"].shape == (3, 16, 16)
    assert item["gt"].shape == (3, 32, 32)
    assert torch.equal(item["gt"][:, ::2, ::2], item["lq"])  # LR is every second pixel of HR
    whole = cv2.imread(item["lq_path"])[..., ::-1].transpose(2, 0, 1) / np.float32(255)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (3, 16, 16))[0]
    assert (windows == item["lq"].numpy()).all((2, 3, 4)).any()
    assert item["thresholds"].tolist() == dataset.index.thresholds.tolist()
    assert 1 <= item["difficulty"] <= 4


def test_an_item_of_a_patch_as_large_as_its_image_equals_basicsrs(pairs, options):
    opt = options(pairs, gt_size=96, use_hflip=False, use_rot=False, mean=[0.4, 0.5, 0.6], std=[1.0, 2.0, 1.0])
    for name in ("hr", "lr"):
        for path in (pairs / name).iterdir():
            size = 96 if name == "hr" else 48
            cv2.imwrite(str(path), cv2.imread(str(path))[:size, :size])
    stock = {item["lq_path"]: item for item in PairedImageDataset(copy.deepcopy(opt))}
    for color in (None, "y"):
        if color:
            opt = {**opt, "color": color, "mean": [0.5], "std": [1.0]}
            stock = {item["lq_path"]: item for item in PairedImageDataset(copy.deepcopy(opt))}
        dataset = HESPairedImageDataset(opt)
        for t in range(len(dataset)):
            item = dataset[t]
            assert torch.equal(item["lq"], stock[item["lq_path"]]["lq"])
            assert torch.equal(item["gt"], stock[item["lq_path"]]["gt"])


def test_flips_keep_lr_and_hr_together_and_all_eight_occur(pairs, options, write_pair):
    for path in [*(pairs / "hr").iterdir(), *(pairs / "lr").iterdir()]:
        path.unlink()
    block = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    write_pair(pairs, "a.png", block.repeat(2, 0).repeat(2, 1))
    dataset = HESPairedImageDataset(options(pairs, {"num_classes": 2, "stride": 1}, gt_size=30))
    dataset.training_sampler(batches_per_epoch=50, batch_size=4, total_iterations=50)
    seen = set()
    for t in range(200):
        item = dataset[t]
        assert torch.equal(item["gt"][:, ::2, ::2], item["lq"])
        corners = item["lq"][0, [0, 0, -1, -1], [0, -1, 0, -1]]
        seen.add(tuple(corners.tolist()))
    assert len(seen) == 4 * 8  # four crop positions in eight orientations


def test_the_callers_options_stay_as_they_are(pairs, options):
    opt = options(pairs)
    before = copy.deepcopy(opt)
    HESPairedImageDataset(opt)[0]
    assert opt == before


def test_the_length_is_the_number_of_pairs(pairs, options):
    assert len(HESPairedImageDataset(options(pairs))) == 6


def test_without_a_sampler_an_epoch_ends(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    assert len(list(dataset)) == 6
    with pytest.raises(IndexError, match=r"0\.\.5 before training_sampler"):
        dataset[6]


def test_class_shares_in_both_stages(pairs, options):
    hes = {"delta": 0.5, "thresholds": "linear", "sample_level": 0.5}
    dataset = HESPairedImageDataset(options(pairs, hes))
    batches = run(dataset, 2, batches_per_epoch=25, total_iterations=50)
    epochs = [np.bincount(np.ravel([c for c, _ in batches[i : i + 25]]), minlength=5)[1:] for i in (0, 25)]
    assert (np.abs(epochs[0] - 100 * dataset.index.counts / len(dataset.index)) < 1).all()
    assert (np.abs(epochs[1] - 100 * dataset.hes.shares(dataset.index.counts)) < 1).all()
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize("num_workers", [1, 4])
def test_workers_change_nothing(pairs, options, num_workers):
    dataset = HESPairedImageDataset(options(pairs))
    assert run(dataset, 2, num_workers) == run(dataset, 2, 0)


def test_two_ranks_take_the_draws_of_one_with_twice_the_batch(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    alone = run(dataset, 4)
    ranks = [run(dataset, 4, batch_size=2, rank=rank, world_size=2) for rank in range(2)]
    for step, (classes, sums) in enumerate(alone):
        for kind, whole in enumerate((classes, sums)):
            assert np.stack([ranks[0][step][kind], ranks[1][step][kind]], 1).ravel().tolist() == whole


def test_a_resumed_training_goes_on_in_the_middle_of_an_epoch(pairs, options):
    whole = run(HESPairedImageDataset(options(pairs)), 4)
    resumed = run(HESPairedImageDataset(options(pairs)), 2, first_epoch=1, start_iteration=7)
    assert resumed == whole[7:17]


def test_draws_differ_between_epochs_and_seeds_and_repeat_with_the_seed(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    first = run(dataset, 2, total_iterations=1000)
    assert first[:5] != first[5:]
    assert run(dataset, 2, total_iterations=1000) == first
    assert run(dataset, 2, total_iterations=1000, seed=2) != first
    own = HESPairedImageDataset(options(pairs, {"seed": 2}))
    assert run(own, 2, total_iterations=1000, seed=9) == run(dataset, 2, total_iterations=1000, seed=2)


def test_lmdb_gives_the_same_items_as_the_folder(pairs, options):
    to_lmdb(pairs, "hr", "lr")
    folder, lmdb = HESPairedImageDataset(options(pairs)), HESPairedImageDataset(lmdb_options(options, pairs))
    assert run(lmdb, 2) == run(folder, 2)
    assert run(lmdb, 2, num_workers=2) == run(folder, 2)  # workers forked while the LMDB is open


def test_lmdb_without_the_key_is_named(pairs, options):
    to_lmdb(pairs, "hr", "lr")
    for side in ("hr", "lr"):
        with (pairs / f"{side}.lmdb" / "meta_info.txt").open("a") as file:
            file.write("ghost.png (96,128,3) 1\n")
    with pytest.raises(ValueError, match=r"key 'ghost' of .*lr\.lmdb is missing.*make the LMDB again"):
        HESPairedImageDataset(lmdb_options(options, pairs))


def test_a_meta_file_chooses_the_pairs(pairs, options):
    (pairs / "meta.txt").write_text("1.png (96,128,3)\n4.png (96,128,3)\n")
    dataset = HESPairedImageDataset(options(pairs, meta_info_file=str(pairs / "meta.txt")))
    assert {dataset[t]["lq_path"][-5:] for t in range(len(dataset))} <= {"1.png", "4.png"}
    (pairs / "meta.txt").write_text("9.png (96,128,3)\n")
    with pytest.raises(FileNotFoundError, match=r"9\.png does not exist"):
        HESPairedImageDataset(options(pairs, meta_info_file=str(pairs / "meta.txt")))


def test_the_index_is_cached_and_a_changed_image_is_scored_again(pairs, options, write_pair):
    first = HESPairedImageDataset(options(pairs)).index
    assert len(list((pairs / ".cache" / "wbsr").iterdir())) == 1
    assert (HESPairedImageDataset(options(pairs)).index.score == first.score).all()
    write_pair(pairs, "0.png", np.zeros((96, 128, 3), np.uint8))
    changed = HESPairedImageDataset(options(pairs)).index
    assert (changed.score == 0).sum() > (first.score == 0).sum()


def test_no_cache_and_a_folder_of_ones_own(pairs, options):
    HESPairedImageDataset(options(pairs, {"cache": False}))
    assert not (pairs / ".cache").exists()
    HESPairedImageDataset(options(pairs, {"cache": str(pairs / "mine")}))
    assert len(list((pairs / "mine").iterdir())) == 1


def test_small_images_are_skipped_by_name(pairs, options, write_pair, caplog, monkeypatch):
    write_pair(pairs, "tiny.png", np.zeros((20, 20, 3), np.uint8))
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    dataset = HESPairedImageDataset(options(pairs))
    assert "1 of 7 LR images are smaller than the patch of 16 pixels" in caplog.text
    assert "tiny.png" in caplog.text
    assert len(dataset) == 7


def test_sizes_that_do_not_match_name_both_images(pairs, options, write_pair):
    write_pair(pairs, "3.png", np.zeros((96, 128, 3), np.uint8), np.zeros((48, 63, 3), np.uint8))
    with pytest.raises(ValueError, match=r"2 times.*96 x 128 for .*hr/3\.png and 48 x 63 for .*lr/3\.png"):
        HESPairedImageDataset(options(pairs))


@pytest.mark.parametrize("side", ["hr", "lr"])
def test_a_damaged_image_is_named_at_start(pairs, options, side):
    path = pairs / side / "2.png"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=rf"{side}/2\.png is damaged or cut off"):
        HESPairedImageDataset(options(pairs))


def test_an_image_that_goes_bad_in_a_training_is_named(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    for path in (pairs / "hr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"hr/\d\.png is no image"):
        dataset[0]


def test_an_image_that_is_gone_in_a_training_is_named(pairs, options):
    dataset = HESPairedImageDataset(options(pairs, {"decoded_mb": 0}))
    for path in (pairs / "lr").iterdir():
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lr/\d\.png can't be read \(No such file or directory\): put it back"
    ) as e:
        dataset[0]
    assert user_message(e.value) is not None


def test_an_image_that_shrinks_in_a_training_is_named(pairs, options, write_pair):
    dataset = HESPairedImageDataset(options(pairs))
    for number in range(6):
        write_pair(pairs, f"{number}.png", np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r"lr/\d\.png has shrunk since it was indexed: start the training again"):
        dataset[0]


def test_the_crops_of_draws_come_without_their_pixels(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    draws = list(dataset.training_sampler(**PLAN))
    crops = dataset.crops([draw.t for draw in draws])
    for place, draw in enumerate(draws):
        lr, _ = dataset.images.fetch(crops[place])
        assert torch.equal(torch.from_numpy(lr[..., ::-1].copy()).permute(2, 0, 1), dataset[draw]["lq"])
        assert torch.equal(dataset[draw.t]["lq"], dataset[draw]["lq"])


def test_a_missing_partner_and_empty_or_missing_folders(pairs, options):
    (pairs / "lr" / "5.png").rename(pairs / "lr" / "other.png")
    with pytest.raises(ValueError, match=r"5\.png is not in lq_paths.*Every HR image needs its LR image"):
        HESPairedImageDataset(options(pairs))
    (pairs / "empty").mkdir()
    empty = {"dataroot_gt": str(pairs / "empty"), "dataroot_lq": str(pairs / "empty")}
    with pytest.raises(ValueError, match="must hold images, got none in"):
        HESPairedImageDataset({**options(pairs), **empty})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        HESPairedImageDataset({**options(pairs), "dataroot_lq": str(pairs / "nowhere")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gt_size": 33}, "gt_size must be a multiple of the scale 2, got 33"),
        ({"gt_size": "32"}, "gt_size must be a whole number"),
        ({"phase": "val"}, "use PairedImageDataset for validation"),
        ({"hes": {"num_class": 4}}, "datasets:train:hes: unknown key 'num_class': did you mean 'num_classes'"),
        ({"hes": {"num_classes": 1}}, r"num_classes must be in 2\.\.255, got 1"),
        ({"hes": {"delta": 0.0}}, r"delta must be in \(0, 1\]"),
        ({"hes": {"sample_level": 70}}, r"sample_level must be in \[0, 1\], got 70"),
        ({"hes": {"max_repeat": 0.5}}, "max_repeat must be at least 1"),
        ({"hes": {"stride": 0}}, "stride must be at least 1"),
        ({"hes": {"num_classes": 255, "stride": 1000}}, "255 classes for 24 patches"),
        ({"gt_size": 256, "hes": {}}, "got 6 images that are all smaller"),
        ({"io_backend": {}}, "io_backend must be a block with a type"),
        ({"mean": [0.5] * 3}, "datasets:train: mean and std go together: std is missing"),
        ({"mean": [0.5] * 2, "std": [0.5] * 2}, r"mean must be a list of 3 numbers, one a channel, got \[0.5, 0.5\]"),
        ({"mean": [0.5] * 3, "std": [0.5, 0, 1]}, "std must be a list of 3 numbers above 0, one a channel"),
        ({"mean": 0.5, "std": 1}, "mean must be a list of 3 numbers, one a channel, got 0.5"),
        ({"mean": [0.5] * 3, "std": [1] * 3, "color": "y"}, "mean must be a list of 1 numbers, one a channel"),
    ],
)
def test_wrong_options_say_what_to_change(pairs, options, change, message):
    with pytest.raises(ValueError, match=message):
        HESPairedImageDataset({**options(pairs), **change})


def test_a_missing_option_is_named(pairs, options):
    opt = options(pairs)
    del opt["use_rot"]
    with pytest.raises(ValueError, match="datasets:train: the key 'use_rot' is missing"):
        HESPairedImageDataset(opt)


def test_an_epoch_without_a_full_batch_is_an_error(pairs, options):
    with pytest.raises(ValueError, match=r"at least one full batch.*raise dataset_enlarge_ratio"):
        HESPairedImageDataset(options(pairs)).training_sampler(batches_per_epoch=0, batch_size=8, total_iterations=5)


def test_it_travels_to_a_spawned_worker(pairs, options):
    dataset = HESPairedImageDataset(options(pairs))
    first = dataset[0]
    assert same_items(pickle.loads(pickle.dumps(dataset))[0], first)


@pytest.mark.parametrize(
    "program",
    [
        "from wbsr_data import Crop, DrawPlan, HESSampler, PatchIndex, decode_image, gradient_score, thresholds; "
        "import sys; assert 'basicsr' not in sys.modules",
        "from wbsr import compat; compat.install(); import wbsr_data; from basicsr.utils.registry import "
        "DATASET_REGISTRY; [DATASET_REGISTRY.get(f'{name}PairedImageDataset') for name in ('HES', 'DDA')]",
    ],
)
def test_mathematics_comes_without_basicsr_and_registration_with_it(program, request):
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=request.config.rootpath, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
