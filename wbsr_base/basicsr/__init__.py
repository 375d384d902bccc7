"""What we use of BasicSR, mended: import it from here, and the mends and hooks are in place before it is first used.

BasicSR 1.4.2 does not import on current torchvision, and some of it fails where it does (`wbsr_base.compat`); a data
set or a model may also take part in its training loop (`wbsr_base.hooks`).
"""

# ruff: noqa: E402  BasicSR can be imported only once it is mended

from wbsr_base import compat, hooks

compat.install()
hooks.install()

from basicsr.archs import build_network
from basicsr.archs.arch_util import default_init_weights
from basicsr.archs.srresnet_arch import MSRResNet
from basicsr.archs.vgg_arch import NAMES as VGG_LAYERS
from basicsr.data import build_dataloader
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from basicsr.losses.loss_util import weight_reduce_loss
from basicsr.models import lr_scheduler
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.utils import FileClient, bgr2ycbcr, get_root_logger, img2tensor, imwrite, registry, tensor2img
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.logger import initialized_logger
from basicsr.utils.matlab_functions import imresize
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

__all__ = [
    "ARCH_REGISTRY",
    "DATASET_REGISTRY",
    "LOSS_REGISTRY",
    "MODEL_REGISTRY",
    "VGG_LAYERS",
    "BaseModel",
    "EnlargedSampler",
    "FileClient",
    "MSRResNet",
    "PairedImageDataset",
    "SRModel",
    "SingleImageDataset",
    "bgr2ycbcr",
    "build_dataloader",
    "build_network",
    "default_init_weights",
    "get_dist_info",
    "get_root_logger",
    "img2tensor",
    "imresize",
    "imwrite",
    "initialized_logger",
    "lr_scheduler",
    "registry",
    "tensor2img",
    "weight_reduce_loss",
]
