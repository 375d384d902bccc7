"""Each fault that BasicSR lets slip in an option file is an error that says what to change."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wbsr import compat
from wbsr.checks import check_options

NO_GPU = torch.cuda.device_count() == 0


@pytest.fixture
def check(images, options, monkeypatch):
    """Check the correct options with changes: `train__optim_g__lr=1` sets a value, `…=DELETE` takes a key out."""
    compat.install()
    monkeypatch.chdir(images(3))

    def run(is_train=True, auto_resume=False, **changes):
        opt = copy.deepcopy(options)
        if not is_train:
            opt["datasets"] = {"test_1": opt["datasets"]["val"]}
            opt["val"]["suffix"] = None
        for path, value in changes.items():
            *blocks, key = path.split("__")
            block = opt
            for name in blocks:
                block = block[name]
            if value is DELETE:
                del block[key]
            else:
                block[key] = value
        before = copy.deepcopy(opt)
        check_options(opt, is_train, auto_resume)
        assert opt == before

    return run


DELETE = object()


def test_correct_options_pass(check):
    check()
    check(is_train=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": DELETE}, "key name is missing"),
        ({"name": 7}, "name must be a text that can name a folder, .*got 7"),
        ({"network_g": DELETE}, "block network_g is missing"),
        (
            {"path__pretrian_network_g": None},
            "path: unknown key 'pretrian_network_g': did you mean 'pretrain_network_g'",
        ),
        ({"path__cache": "somewhere"}, "path: unknown key 'cache'"),
        ({"path__pretrain_network_q": "x.pth"}, "path: unknown key 'pretrain_network_q'"),
        ({"logger__use_tb_logger": DELETE}, "key logger:use_tb_logger is missing"),
        ({"logger__print_freq": 0}, "logger:print_freq must be a whole number above 0, got 0"),
        ({"logger__wandb": {"project": "p"}, "logger__use_tb_logger": False}, "wandb:project needs"),
        ({"val__save_img": DELETE}, "key val:save_img is missing"),
        ({"val__val_freq": "often"}, "val:val_freq must be a whole number above 0, got 'often'"),
        ({"train__total_iter": DELETE}, "key train:total_iter is missing"),
        ({"datasets__train": DELETE}, "key datasets:train is missing"),
        ({"datasets__test": {}}, "datasets: unknown key 'test': wbsr train takes train, val"),
        ({"datasets__train__name": DELETE}, "key datasets:train:name is missing"),
        ({"datasets__train__batch_size_per_gpu": 0}, "batch_size_per_gpu must be a whole number above 0, got 0"),
        ({"datasets__train__num_worker_per_gpu": -1}, "num_worker_per_gpu must be a whole number from 0"),
        ({"datasets__train__persistent_workers": True}, "persistent_workers needs num_worker_per_gpu of 1"),
        ({"datasets__train__prefetch_mode": "gpu"}, "prefetch_mode must be cpu, cuda or ~"),
        ({"num_gpu": -1}, "num_gpu must be auto or"),
        ({"num_gpu": 99}, "num_gpu is 99, but there are .* write num_gpu: auto"),
    ],
)
def test_structure(check, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check(**changes)


@pytest.mark.skipif(not NO_GPU, reason="there is a CUDA device")
def test_cuda_prefetching_without_cuda(check):
    with pytest.raises(ValueError, match="prefetch_mode is cuda, but there is no CUDA device"):
        check(datasets__train__prefetch_mode="cuda", datasets__train__pin_memory=True)


def test_a_test_needs_val_suffix_when_it_saves_images(check):
    with pytest.raises(ValueError, match="val:suffix is missing: write `suffix: ~`"):
        check(is_train=False, val__suffix=DELETE)
    check(is_train=False, val__suffix=DELETE, val__save_img=False)


def test_a_name_with_debug_is_warned_about(check, caplog):
    check(name="no_debugging")
    assert "contains 'debug'" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "SRModl"}, "model_type: no model is called 'SRModl': did you mean 'SRModel'"),
        ({"network_g__type": "MSRResnet"}, "network_g:type: no arch is called 'MSRResnet': did you mean 'MSRResNet'"),
        ({"network_g__num_feet": 3}, "network_g: MSRResNet takes no option 'num_feet': did you mean 'num_feat'"),
        ({"datasets__val__type": "Paired"}, "datasets:val:type: no dataset is called 'Paired'"),
        ({"train__pixel_opt__type": "L1"}, "train:pixel_opt:type: no loss is called 'L1'"),
        ({"train__pixel_opt__weight": 2}, "train:pixel_opt: L1Loss takes no option 'weight'"),
        ({"train__pixel_opt__type": DELETE}, "key train:pixel_opt:type is missing"),
        ({"val__metrics__psnr__type": "psnr"}, "val:metrics:psnr:type: no metric is called 'psnr'"),
        ({"val__metrics__psnr__test_y_chanel": True}, "psnr takes no option 'test_y_chanel': .* 'test_y_channel'"),
        ({"scale": DELETE}, "the key scale is missing"),
        ({"datasets__val__dataroot_lq": DELETE}, "key datasets:val:dataroot_lq is missing"),
        ({"datasets__train__gt_size": DELETE}, "key datasets:train:gt_size is missing"),
        ({"val__metrics__psnr__crop_border": DELETE}, "key val:metrics:psnr:crop_border is missing"),
    ],
)
def test_types_and_their_options(check, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check(**changes)


def test_better_is_an_option_of_every_metric(check):
    check(val__metrics__psnr__better="lower")


def test_a_registered_class_checks_its_own_block(check):
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.utils.registry import DATASET_REGISTRY

    class CheckedDataset(PairedImageDataset):
        @staticmethod
        def check_options(opt):
            raise ValueError(f"hes of {opt['name']} at x{opt['scale']} in {opt['phase']}: {opt['hes']}")

    if "CheckedDataset" not in DATASET_REGISTRY:
        DATASET_REGISTRY.register(CheckedDataset)
    with pytest.raises(ValueError, match="hes of train at x2 in train: 5"):
        check(datasets__train__type="CheckedDataset", datasets__train__hes=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__optim_g": DELETE}, "train:optim_g must be a block"),
        ({"train__optim_g__type": "AdamW"}, "train:optim_g:type must be Adam.* got 'AdamW'"),
        ({"train__optim_g__learning_rate": 1.0}, "train:optim_g: Adam takes no option 'learning_rate'"),
        ({"train__scheduler": DELETE}, "train:scheduler must be a block"),
        ({"train__scheduler__type": "Cosine"}, "train:scheduler:type: BasicSR knows no schedule 'Cosine'"),
        ({"train__scheduler__milestone": [3]}, "train:scheduler: MultiStepRestartLR takes no option 'milestone'"),
        (
            {"train__scheduler": {"type": "CosineAnnealingRestartLR", "periods": [10]}},
            r"train:scheduler:periods \[10\] end before train:total_iter 20",
        ),
    ],
)
def test_optimisers_and_schedules(check, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check(**changes)


def test_a_cosine_schedule_over_the_whole_training_passes(check):
    check(train__scheduler={"type": "CosineAnnealingRestartLR", "periods": [20], "eta_min": 1e-7})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"datasets__train__dataroot_gt": "data/hrr"},
            "dataroot_gt: there is no folder data/hrr .*: did you mean 'hr'",
        ),
        ({"datasets__val__dataroot_lq": "elsewhere/lr"}, "datasets:val:dataroot_lq: there is no folder elsewhere/lr"),
        ({"datasets__train__dataroot_gt": 5}, "dataroot_gt must be a path, or ~ .*, got 5"),
        ({"datasets__train__meta_info_file": "m.txt"}, "meta_info_file: there is no file m.txt"),
        ({"datasets__train__io_backend": {"type": "dsik"}}, "io_backend:type must be disk, lmdb or memcached"),
        ({"datasets__train__io_backend": {"type": "lmdb"}}, "LMDB folder's name to end in .lmdb"),
        ({"path__pretrain_network_g": "net.pth"}, "path:pretrain_network_g: there is no file net.pth"),
        ({"path__resume_state": "5.state"}, "path:resume_state: there is no file 5.state"),
    ],
)
def test_files(check, changes, message):
    with pytest.raises((FileNotFoundError, ValueError, TypeError), match=message):
        check(**changes)


def test_backends_take_their_own_options_alone(check):
    with pytest.raises(ValueError, match="datasets:train:io_backend: disk takes no option 'db_path'"):
        check(datasets__train__io_backend={"type": "disk", "db_path": "data/hr"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.txt is empty: it must name one image a line"),
        ("00.png\n\n", "line 2 of m.txt is blank"),
        ("\ufeff00.png\n", "begins with a byte-order mark"),
        ("00.png (32,32,3)\n04.png\n", "line 2 of m.txt names 04.png, but there is no data/hr/04.png"),
        ("00 a.png\n", "names 00, but there is no data/hr/00 .*ends at the first space"),
    ],
)
@pytest.mark.parametrize("phase", ["train", "val"])
def test_meta_files(check, tmp_path, phase, text, message):
    (tmp_path / "m.txt").write_text(text, encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=f"datasets:{phase}:meta_info_file: .*{message}"):
        check(**{f"datasets__{phase}__meta_info_file": "m.txt"})
    (tmp_path / "m.txt").write_text("00.png (32,32,3) 1\n01.png", encoding="utf-8")
    check(**{f"datasets__{phase}__meta_info_file": "m.txt"})


def test_names_that_do_not_pair_up_are_told_with_what_would(check, tmp_path):
    for path in (tmp_path / "data/lr").iterdir():
        path.rename(path.with_name(f"{path.stem}x2.png"))
    with pytest.raises(ValueError, match=r"there is 00x2.png, so write filename_tmpl: '\{\}x2'"):
        check()
    check(datasets__train__filename_tmpl="{}x2", datasets__val__filename_tmpl="{}x2")


def test_endings_that_differ_are_told(check, tmp_path):
    path = tmp_path / "data/lr/01.png"
    path.rename(path.with_suffix(".jpg"))
    with pytest.raises(ValueError, match=r"for \S*hr/01.png there must be \S*lr/01.png: .*ends otherwise \(01.jpg\)"):
        check()


def test_names_and_endings_that_both_differ_are_told_together(check, tmp_path):
    for path in (tmp_path / "data/lr").iterdir():
        path.rename(path.with_name(f"{path.stem}_small.bmp"))
    with pytest.raises(ValueError, match=r"filename_tmpl: '\{\}_small', and give both one ending, for BasicSR"):
        check()


def test_images_in_subfolders_alone_are_told(check, tmp_path):
    folder = tmp_path / "data/hr"
    (folder / "below").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "below" / path.name)
    with pytest.raises(FileNotFoundError, match="data/hr holds no files: its images are in folders, such as below"):
        check()


def single(kind="SingleImageDataset"):
    return {"name": "single", "type": kind, "dataroot_lq": "data/lr", "io_backend": {"type": "disk"}}


@pytest.mark.parametrize(("is_train", "where"), [(True, "val"), (False, "test_2")])
def test_metrics_need_hr_images(check, is_train, where):
    with pytest.raises(
        ValueError, match=f"val:metrics:psnr: calculate_psnr compares with HR images, which datasets:{where} .*does not"
    ):
        check(is_train, **{f"datasets__{where}": single()})


def test_metrics_that_look_at_one_image_need_none(check, tmp_path):
    niqe = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    check(datasets__val=single(), val__metrics=None)
    with pytest.raises(ValueError, match=r"the result of data/lr/\d+.png must be at least 96 pixels high and 192 wide"):
        check(datasets__val=single(), val__metrics=niqe)
    for path in (tmp_path / "data/lr").iterdir():
        cv2.imwrite(str(path), np.zeros((96, 48, 3), np.uint8))
    check(is_train=False, datasets__test_1=single(), val__metrics=niqe)
    niqe["niqe"]["crop_border"] = 1
    with pytest.raises(ValueError, match=r"at least 98 pixels high .* for calculate_niqe, got 192 x 96: lower crop_bo"):
        check(is_train=False, datasets__test_1=single(), val__metrics=niqe)


def test_every_image_without_hr_image_is_looked_at(check, tmp_path):
    for number in range(3, 9):
        (tmp_path / f"data/lr/{number:02}.png").write_bytes((tmp_path / "data/lr/00.png").read_bytes())
    path = tmp_path / "data/lr/02.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"lr/02.png is damaged or cut off"):
        check(is_train=False, datasets__test_1=single(), val__metrics=None)


def test_two_results_of_one_name_are_told_before(check, tmp_path):
    for folder in ("hr", "lr"):
        image = cv2.imread(str(tmp_path / f"data/{folder}/01.png"))
        cv2.imwrite(str(tmp_path / f"data/{folder}/01.bmp"), image)
    with pytest.raises(ValueError, match=r"01.bmp and 01.png in data/lr would both be saved as 01"):
        check(is_train=False)
    check(is_train=False, val__save_img=False)
    (tmp_path / "names.txt").write_text("01.png (32,32,3)\n00.png (32,32,3)\n")
    check(is_train=False, datasets__test_1__meta_info_file="names.txt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets__train__gt_size": 15}, "datasets:train:gt_size must be a multiple of the scale 2, got 15"),
        ({"datasets__train__gt_size": 64}, r"hr/\d+.png can't be read as these options ask: .*smaller than patch size"),
        ({"datasets__train__mean": [0.5, 0.5, 0.5]}, r"hr/\d+.png can't be read as these options ask"),
    ],
)
def test_training_pairs_are_tried(check, changes, message):
    with pytest.raises(ValueError, match=message):
        check(**changes)


def test_folders_that_are_empty_or_do_not_pair_up(check, tmp_path):
    (tmp_path / "data" / "hr" / "00.png").unlink()
    with pytest.raises(ValueError, match=r"data/hr holds 2 files and data/lr 3: .* each HR image needs its LR image"):
        check()
    for path in (tmp_path / "data" / "hr").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="the folder data/hr is empty"):
        check()


def test_an_lmdb_is_recognised(check, tmp_path):
    folder = tmp_path / "hr.lmdb"
    folder.mkdir()
    lmdb = {"datasets__train__dataroot_gt": "hr.lmdb", "datasets__train__dataroot_lq": "hr.lmdb"}
    with pytest.raises(ValueError, match=r"hr.lmdb is an LMDB: write io_backend: \{type: lmdb\}"):
        check(**lmdb)
    with pytest.raises(FileNotFoundError, match=r"there is no file hr.lmdb/data.mdb"):
        check(**lmdb, datasets__train__io_backend={"type": "lmdb"})


def test_a_resumed_training_needs_no_pretrained_network(check):
    with pytest.raises(FileNotFoundError, match=r"path:pretrain_network_g: there is no file gone.pth"):
        check(auto_resume=True, path__pretrain_network_g="gone.pth")  # it has no state yet
    states = Path("experiments/tiny/training_states")
    states.mkdir(parents=True)
    (states / "5.state").touch()
    check(auto_resume=True, path__pretrain_network_g="gone.pth")


@pytest.mark.parametrize("is_train", [True, False])
def test_validation_pairs_whose_sizes_differ_are_both_named(check, tmp_path, is_train):
    cv2.imwrite(str(tmp_path / "data/lr/01.png"), np.zeros((16, 15, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must be 2 times .* 32 x 32 for \S*hr/01.png and 16 x 15 for \S*lr/01.png"):
        check(is_train=is_train)


def test_validation_images_may_have_a_rest_that_basicsr_cuts_off(check, tmp_path):
    cv2.imwrite(str(tmp_path / "data/hr/01.png"), np.zeros((33, 33, 3), np.uint8))
    check(is_train=False)
    with pytest.raises(ValueError, match=r"datasets:train: \S*hr/01.png can't be read .*Scale mismatches"):
        check()  # BasicSR does not cut in a training


def test_a_damaged_validation_image_is_named(check, tmp_path):
    path = tmp_path / "data/hr/02.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"hr/02.png is damaged or cut off"):
        check()


def test_a_validation_image_without_its_partner_is_told(check, tmp_path):
    (tmp_path / "data/lr/02.png").rename(tmp_path / "data/lr/03.png")
    with pytest.raises(ValueError, match=r"Every HR image needs its LR image: for \S*hr/02.png .* \S*lr/02.png"):
        check()


def test_a_validation_image_too_small_for_a_metric_is_named(check, tmp_path):
    for name, size in (("hr", (14, 30)), ("lr", (7, 15))):
        cv2.imwrite(str(tmp_path / f"data/{name}/01.png"), np.zeros((*size, 3), np.uint8))
    with pytest.raises(ValueError, match=r"hr/01.png must be at least 15 pixels .* for calculate_ssim, got 14 x 30"):
        check()
    check(is_train=False, val__metrics__ssim=DELETE)
