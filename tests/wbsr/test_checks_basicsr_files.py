"""The option files that BasicSR ships know no key that the checks call unknown.

Below stand their keys, by kind of file, as of BasicSR 1.4.2; values are such as pass.
"""

import pytest

import wbsr.plugin  # noqa: F401
from wbsr.checks.components import check_needed, registered
from wbsr.checks.unknown import check_unknown

PAIRED = "name type dataroot_gt dataroot_lq io_backend"
LOADING = "num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode"
CROPS = "gt_size use_hflip use_rot"
TOP = "name model_type scale num_gpu manual_seed datasets network_g path train val logger dist_params"
LOGGER = "print_freq save_checkpoint_freq use_tb_logger wandb"
STEPS = "optim_g scheduler total_iter warmup_iter pixel_opt"
GAN = f"ema_decay {STEPS} optim_d perceptual_opt gan_opt net_d_iters net_d_init_iters"
VAL = "val_freq save_img metrics"
DEGRADATION = """gt_size queue_size resize_prob resize_range gaussian_noise_prob noise_range poisson_scale_range
    gray_noise_prob jpeg_range second_blur_prob resize_prob2 resize_range2 gaussian_noise_prob2 noise_range2
    poisson_scale_range2 gray_noise_prob2 jpeg_range2"""
BLUR = """blur_kernel_size kernel_list kernel_prob sinc_prob blur_sigma betag_range betap_range blur_kernel_size2
    kernel_list2 kernel_prob2 sinc_prob2 blur_sigma2 betag_range2 betap_range2 final_sinc_prob"""
REDS = f"{PAIRED} meta_info_file val_partition num_frame {CROPS} interval_list random_reverse {LOADING}"
VIDEO = f"{PAIRED} cache_data num_frame padding"

# By kind: model, further keys at the top, data sets (type: keys), keys of train, keys of val
FILES = {
    "SRResNet": (
        "SRModel",
        "",
        {
            "train": ("PairedImageDataset", f"{PAIRED} meta_info_file filename_tmpl {CROPS} {LOADING} use_shuffle"),
            "val": ("PairedImageDataset", PAIRED),
            "val_2": ("PairedImageDataset", f"{PAIRED} filename_tmpl"),
        },
        f"ema_decay {STEPS}",
        f"{VAL} pbar",
    ),
    "RCAN, a test": (
        "SRModel",
        "suffix crop_border save_img",
        {"test_1": ("PairedImageDataset", f"{PAIRED} filename_tmpl")},
        None,
        "save_img suffix metrics",
    ),
    "ESRGAN": (
        "ESRGANModel",
        "network_d",
        {"train": ("PairedImageDataset", f"{PAIRED} filename_tmpl {CROPS} {LOADING}")},
        GAN,
        VAL,
    ),
    "ESRGAN without HR images, a test": (
        "ESRGANModel",
        "",
        {"test_1": ("SingleImageDataset", "name type dataroot_lq io_backend")},
        None,
        "save_img suffix",
    ),
    "SwinIR": (
        "SwinIRModel",
        "",
        {
            "train": ("PairedImageDataset", f"{PAIRED} meta_info_file filename_tmpl {CROPS} {LOADING}"),
            "val": ("PairedImageDataset", f"{PAIRED} color"),
        },
        f"ema_decay {STEPS}",
        VAL,
    ),
    "Real-ESRGAN": (
        "RealESRGANModel",
        f"network_d l1_gt_usm percep_gt_usm gan_gt_usm {DEGRADATION}",
        {"train": ("RealESRGANDataset", f"name type dataroot_gt meta_info io_backend {CROPS} {BLUR} {LOADING}")},
        GAN,
        VAL,
    ),
    "Real-ESRNet": (
        "RealESRNetModel",
        f"gt_usm {DEGRADATION}",
        {"train": ("RealESRGANDataset", f"name type dataroot_gt meta_info io_backend {CROPS} {BLUR} {LOADING}")},
        f"ema_decay {STEPS}",
        VAL,
    ),
    "LDL": (
        "RealESRGANModel",
        f"network_d l1_gt_usm percep_gt_usm gan_gt_usm {DEGRADATION}",
        {
            "train": ("RealESRGANDataset", f"name type dataroot_gt meta_info io_backend {CROPS} {BLUR} {LOADING}"),
            "val": ("SingleImageDataset", "name type dataroot_lq io_backend"),
        },
        f"{GAN} ldl_opt",
        "val_freq save_img",
    ),
    "EDVR": (
        "EDVRModel",
        "find_unused_parameters",
        {
            "train": ("REDSDataset", f"{REDS} dataroot_flow"),
            "val": ("VideoTestDataset", f"{VIDEO} meta_info_file"),
        },
        f"{STEPS} tsa_iter dcn_lr_mul",
        VAL,
    ),
    "BasicVSR": (
        "VideoRecurrentModel",
        "find_unused_parameters",
        {
            "train": ("REDSRecurrentDataset", f"{REDS} test_mode"),
            "val": ("VideoRecurrentTestDataset", VIDEO),
        },
        f"ema_decay {STEPS} fix_flow flow_lr_mul",
        f"{VAL} flip_seq center_frame_only",
    ),
    "BasicVSR on Vimeo-90K": (
        "VideoRecurrentModel",
        "find_unused_parameters",
        {
            "train": (
                "Vimeo90KRecurrentDataset",
                f"{PAIRED} meta_info_file num_frame {CROPS} interval_list random_reverse flip_sequence {LOADING}",
            ),
        },
        f"ema_decay {STEPS} fix_flow flow_lr_mul",
        VAL,
    ),
    "a recurrent GAN": (
        "VideoRecurrentGANModel",
        "network_d find_unused_parameters",
        {"train": ("REDSRecurrentDataset", f"{REDS} test_mode dataroot_flow")},
        f"{GAN} lr_flow fix_flow",
        VAL,
    ),
    "DUF, a test": (
        "VideoBaseModel",
        "",
        {"test": ("VideoTestDUFDataset", f"{VIDEO} use_duf_downsampling")},
        None,
        "save_img suffix metrics",
    ),
    "StyleGAN2": (
        "StyleGAN2Model",
        "network_d",
        {"train": ("FFHQDataset", f"name type dataroot_gt io_backend use_hflip mean std {LOADING} use_shuffle")},
        """optim_g optim_d scheduler total_iter warmup_iter gan_opt r1_reg_weight path_batch_shrink path_reg_weight
        net_g_reg_every net_d_reg_every mixing_prob net_d_iters net_d_init_iters""",
        "val_freq save_img",
    ),
    "HiFaceGAN": (
        "HiFaceGANModel",
        "network_d",
        {
            "train": ("PairedImageDataset", f"{PAIRED} {CROPS} {LOADING}"),
            "val": ("PairedImageDataset", PAIRED),
        },
        """optim_g optim_d scheduler total_iter warmup_iter perceptual_opt gan_opt feature_matching_opt net_d_iters
        net_d_init_iters""",
        VAL,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_known_and_none_is_missing(name):
    model, top, sets, train, val = FILES[name]
    opt = {key: {} for key in f"{TOP} {top}".split()}
    opt["model_type"] = model
    opt["datasets"] = {key: dict.fromkeys(keys.split(), 1) | {"type": kind} for key, (kind, keys) in sets.items()}
    opt["train"] = dict.fromkeys((train or "").split(), 1)
    opt["val"] = dict.fromkeys(val.split(), 1)
    opt["logger"] = dict.fromkeys(LOGGER.split(), 1) | {"wandb": {"project": None, "resume_id": None}}
    opt["dist_params"] = {"backend": "nccl", "port": 29500}
    check_unknown(opt)
    check_needed(registered("model", model), opt, is_train=train is not None)
