"""A key that nobody reads is an error that says what was meant; what a class reads is found in its source."""

import copy
import logging
from typing import ClassVar

import pytest

import wbsr.plugin  # noqa: F401
from wbsr.checks import check_options
from wbsr.checks.reading import reads
from wbsr.checks.schema import BLOCKS, own_options
from wbsr.checks.unknown import check_unknown
from wbsr_base.basicsr import DATASET_REGISTRY, MODEL_REGISTRY, PairedImageDataset, SRModel


def own_keys(where):
    """The keys of a block of BasicSR that are ours alone: `supernet` and others for `train`, `hes` for `datasets:*`."""
    blocks = [block for block in BLOCKS if not block.beside and not block.type]
    inside = [key for parent, _, key in (block.where.rpartition(":") for block in blocks) if parent == where]
    beside = [block.where for block in BLOCKS if block.beside and block.where == where]
    return [*inside, *(key for place in beside for key in sorted(own_options()[place]))]


OURS = [(place, key) for place in ("train", "val", "datasets:*") for key in own_keys(place)]


def wbsr_file(model="WBSRModel"):
    """As much of an option file of ours as the keys need."""
    train = {"name": "x", "type": "HESPairedImageDataset", "gt_size": 64, "hes": {}, "dataset_enlarge_ratio": 1}
    return {
        "name": "x",
        "model_type": model,
        "manual_seed": 0,
        "datasets": {"train": train, "val": {"name": "v", "type": "PairedImageDataset"}},
        "network_g": {},
        "path": {},
        "train": {"total_iter": 10, "optim_g": {}, "scheduler": {}, "pixel_opt": {}},
        "val": {"val_freq": 5, "save_img": False},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 5, "use_tb_logger": False},
    }


def put(opt, place, value=1):
    *blocks, key = place.split(":")
    for name in blocks:
        opt = opt.setdefault(name, {})
    opt[key] = value


def test_a_correct_file_passes():
    check_unknown(wbsr_file())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("vall", "val"),
        ("vl", "val"),
        ("seed", "manual_seed"),
        ("manual_sed", "manual_seed"),
        ("datasets:train:dataset_enlarge", "datasets:train:dataset_enlarge_ratio"),
        ("datasets:train:meta_info", "datasets:train:meta_info_file"),
        ("datasets:train:prefetch", "datasets:train:prefetch_mode"),
        ("datasets:train:use_hfilp", "datasets:train:use_hflip"),
        ("datasets:train:num_workers", "datasets:train:num_worker_per_gpu"),
        ("datasets:train:batch_size", "datasets:train:batch_size_per_gpu"),
        ("datasets:train:hs", "datasets:train:hes"),
        ("datasets:train:hess", "datasets:train:hes"),
        ("datasets:train:HES", "datasets:train:hes"),
        ("train:ema_deacy", "train:ema_decay"),
        ("train:ema", "train:ema_decay"),
        ("train:warmup_iters", "train:warmup_iter"),
        ("train:warm_up", "train:warmup_iter"),
        ("train:total_iters", "train:total_iter"),
        ("train:supernets", "train:supernet"),
        ("train:computer", "train:compute"),
        ("train:pixel_loss", "train:pixel_opt"),
        ("train:clip_norm", "train:compute:clip_norm"),
        ("train:weight_decay", "train:optim_g:weight_decay"),
        ("train:lr", "train:optim_g:lr"),
        ("train:milestones", "train:scheduler:milestones"),
        ("train:gt_size", "datasets:train:gt_size"),
        ("val:metric", "val:metrics"),
        ("val:dynamics", "val:dynamic"),
        ("val:routing", "val:dynamic:routing"),
        ("dynamic", "val:dynamic"),
        ("total_iter", "train:total_iter"),
        ("supernet", "train:supernet"),
        ("logger:wandbb", "logger:wandb"),
        ("logger:wandb:projct", "logger:wandb:project"),
        ("logger:val_freq", "val:val_freq"),
        ("dist_params:prot", "dist_params:port"),
    ],
)
def test_a_near_miss_is_told_with_what_was_meant(wrong, right):
    opt = wbsr_file()
    present = right.split(":")
    if len(present) > 1 or right not in ("val",):
        block = opt
        for name in present[:-1]:
            block = block.get(name, {})
        block.pop(present[-1], None)
    put(opt, wrong)
    with pytest.raises(ValueError, match=rf"{wrong} is no key that BasicSR or WBSR reads: did you mean {right}\?"):
        check_unknown(opt)


def test_what_stands_there_already_is_meant_only_if_nothing_else_is():
    opt = wbsr_file()
    opt["train"] |= {"ema_decay": 0.9, "ema_deacy": 0.9}
    with pytest.raises(ValueError, match="did you mean train:ema_decay"):
        check_unknown(opt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train:optim_d", "SRGANModel .* would, but the type is WBSRModel"),
        ("datasets:val:hes", "HESPairedImageDataset .* would, but the type is PairedImageDataset"),
        ("train:classsr", "ClassSRModel would, but the type is WBSRModel"),
        ("train:mine", r"train:mine is no key .* \(known: .*total_iter.*\): leave it out, or add --allow-unknown"),
        ("rank", "BasicSR sets it by itself, leave it out"),
        ("datasets:train:scale", "did you mean scale"),
        ("datasets:train:phase", "BasicSR sets it by itself"),
    ],
)
def test_other_keys_are_told_who_would_read_them(change, message):
    opt = wbsr_file()
    put(opt, change)
    with pytest.raises(ValueError, match=message):
        check_unknown(opt)


def test_every_block_of_ours_has_a_known_place():
    places = {block.where for block in BLOCKS if not (block.type or block.beside)}
    assert places <= {f"{place}:{key}" for place, key in OURS}  # those of `resident` stand beside a data set's own
    assert {"train:compute", "train:weight_penalty", "train:classsr", "datasets:*:hes", "val:dynamic"} <= places


def slips(word):
    """All words that a hand makes of `word` by a letter left out, doubled, hit beside, or two changed."""
    for at in range(len(word)):
        yield word[:at] + word[at + 1 :]
        yield word[:at] + word[at] + word[at:]
        yield word[:at] + "q" + word[at + 1 :]
        yield word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    yield word + "q"


@pytest.mark.parametrize(("place", "key"), OURS)
def test_each_block_of_ours_misspelt_by_one_letter_is_found(place, key):
    for slip in set(slips(key)) - {key}:
        opt = wbsr_file("ClassSRModel" if key == "classsr" else "WBSRModel")
        opt["datasets"]["train"].pop("hes")
        put(opt, f"{place.replace('*', 'train')}:{slip}", {})
        hint = rf": did you mean \S*:{key}\?" if len(slip) > 2 and "q" not in slip[:3] else ""
        with pytest.raises(ValueError, match=rf"{slip} is no key .*{hint}"):
            check_unknown(opt)


def test_unknown_keys_are_warned_of_where_they_are_allowed(caplog):
    opt = wbsr_file()
    put(opt, "train:mine")
    check_unknown(opt, allow=True)
    assert "train:mine is no key" in caplog.text


def test_keys_of_basicsrs_own_files_that_nobody_reads_are_warned_of(caplog):
    opt = wbsr_file()
    put(opt, "datasets:train:use_shuffle", True)
    check_unknown(opt)
    assert "datasets:train:use_shuffle is read by nobody" in caplog.text


def test_loading_options_of_a_set_that_is_no_training_set_are_warned_of(caplog):
    opt = wbsr_file()
    put(opt, "datasets:val:batch_size_per_gpu", 4)
    check_unknown(opt)
    assert "datasets:val:batch_size_per_gpu is read of a training set alone" in caplog.text


class TheirDataset(PairedImageDataset):
    """Somebody else's, with keys of its own."""

    def __init__(self, opt):
        super().__init__(opt)
        self.size = opt["crop"]
        self.more = opt.get("more", 3)
        self.nested = opt["nested"]["deep"]
        self.kept = {key: opt[key] for key in ("one", "two")}
        _of_a_function(opt)
        if "asked" in opt:
            self.asked = True


def _of_a_function(options):
    return options.get("handed")


class OpenDataset(PairedImageDataset):
    def __init__(self, opt):
        super().__init__(opt)
        self.arguments = dict(**opt)
        for key in opt.keys():  # noqa: SIM118
            setattr(self, key, opt[key])


class DeclaringDataset(OpenDataset):
    option_keys: ClassVar = {"": ("crop", "more")}


class TheirModel(SRModel):
    option_keys: ClassVar = {"train": ("my_weight",), "": ("my_block",)}


@pytest.fixture
def others(monkeypatch):
    for kind in (TheirDataset, OpenDataset, DeclaringDataset):
        monkeypatch.setitem(DATASET_REGISTRY._obj_map, kind.__name__, kind)
    monkeypatch.setitem(MODEL_REGISTRY._obj_map, "TheirModel", TheirModel)


def test_the_keys_of_somebody_elses_class_are_found_in_its_source():
    own = reads(TheirDataset).at("") - reads(PairedImageDataset).at("")
    assert own == {"crop", "more", "nested", "one", "two", "handed", "asked"}
    assert reads(TheirDataset).at("nested") == {"deep"}
    assert not reads(TheirDataset).is_open


def test_of_a_class_that_hides_what_it_reads_only_slips_are_errors(others, caplog):
    opt = wbsr_file()
    opt["datasets"]["train"] = {"name": "x", "type": "OpenDataset", "gt_size": 64, "crop": 3}
    check_unknown(opt)
    assert "datasets:train:crop is no key" in caplog.text
    opt["datasets"]["train"]["use_hfilp"] = True
    with pytest.raises(ValueError, match="did you mean datasets:train:use_hflip"):
        check_unknown(opt)


def test_a_class_may_declare_its_keys(others, caplog):
    opt = wbsr_file("TheirModel")
    opt["datasets"]["train"] = {"name": "x", "type": "DeclaringDataset", "gt_size": 64, "crop": 3}
    opt["train"]["my_weight"] = opt["my_block"] = 1
    with caplog.at_level(logging.WARNING):
        check_unknown(opt)
    assert caplog.text == ""
    opt["datasets"]["train"]["anything"] = 3
    with pytest.raises(ValueError, match="datasets:train:anything is no key"):
        check_unknown(opt)


def test_unknown_keys_come_before_missing_ones(images, options, monkeypatch):
    """The key that is missing is the one that was misspelt."""
    monkeypatch.chdir(images(3))
    opt = copy.deepcopy(options)
    opt["train"]["total_itr"] = opt["train"].pop("total_iter")
    with pytest.raises(ValueError, match=r"train:total_itr is no key .*did you mean train:total_iter"):
        check_options(opt, is_train=True)
