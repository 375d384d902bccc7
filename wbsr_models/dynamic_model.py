"""The testing half of `WBSRModel`: checkpoints with what routing needs, validation by dynamic inference.

val:
  dynamic: {routing: paper, halo: 8, compare: false, save_map: true}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from wbsr import compat

compat.install()

from basicsr.models.sr_model import SRModel  # noqa: E402
from basicsr.utils import get_root_logger, imwrite, tensor2img  # noqa: E402

from wbsr.options import parse  # noqa: E402
from wbsr_arch.supernet import Supernet  # noqa: E402
from wbsr_models.checkpoint import Metadata, load_checkpoint, read_metadata  # noqa: E402
from wbsr_models.subnet_map import draw_subnet_map  # noqa: E402
from wbsr_models.upscaler import DynamicUpscaler, Report  # noqa: E402


@dataclass(frozen=True)
class DynamicOptions:
    """The block `val:dynamic`.

    `patch_size` in LR pixels and `thresholds` (K-1 scores) are known from training and need not be given; `compare`
    lets a test also measure the full network and every subnet; `save_map` saves the subnet map beside each SR image.
    """

    routing: str = "paper"
    halo: int = 8
    max_tile: int = 256
    patch_size: int | None = None
    thresholds: tuple[float, ...] | None = None
    compare: bool = False
    save_map: bool = False


class DynamicSRModel(SRModel):  # type: ignore[misc]
    """An SRModel of a `Supernet` that tests by dynamic inference and writes one self-contained checkpoint.

    Raises:
        ValueError: `network_g` is no Supernet, an option is wrong, or `paper` routing has no difficulty classes.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt["network_g"].get("type") != "Supernet":
            got = opt["network_g"].get("type")
            raise ValueError(f"WBSRModel trains a supernet: network_g:type must be Supernet, got {got!r}")
        self.dynamic = dynamic_options(opt)
        self.patch_size = self.dynamic.patch_size or _training_patch(opt)
        self.thresholds = self.dynamic.thresholds
        super().__init__(opt)
        self.supernet: Supernet = self.get_bare_model(self.net_g)
        self.reports: list[Report] = []
        if not self.is_train and self.dynamic.routing == "paper" and self.thresholds is None:
            raise ValueError(
                "val:dynamic:routing `paper` needs thresholds, which the checkpoint of path:pretrain_network_g does "
                "not have: train with HESPairedImageDataset, give val:dynamic:thresholds, or use routing: full"
            )

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Load weights, WBSR's or stock ones of the backbone, and what a WBSR checkpoint says beside them."""
        content = load_checkpoint(load_path)
        metadata = read_metadata(content, load_path)
        if metadata is not None:
            self.thresholds = self.thresholds or metadata.thresholds
            self.patch_size = self.patch_size or metadata.patch_size
        key = param_key if param_key in content else "params"
        _check_weights(self.get_bare_model(net), content.get(key, content), load_path)
        super().load_network(net, load_path, strict, key if key in content else None)

    def network_metadata(self, net_label: str) -> dict[str, Any]:
        """The `wbsr` entry of the checkpoint."""
        if net_label != "net_g" or self.patch_size is None:
            return {}
        return {"wbsr": Metadata(self.opt["network_g"], self.patch_size, self.thresholds).plain()}

    def test(self) -> None:
        """Upscale `self.lq` by dynamic inference."""
        self.output, report = self.upscaler(self.lq)
        self.reports.append(report)
        if self._map_folder is not None:
            image = tensor2img([self.output.detach().cpu()])
            cell = self.upscaler.patch_size * self.supernet.scale
            picture = draw_subnet_map(image, report.choice, cell, len(self.supernet.subnets))
            imwrite(picture, str(self._map_folder / f"{Path(self.lq_path).stem}_map.png"))

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """BasicSR's validation by dynamic inference, and with `compare` once more for every fixed subnet."""
        name = dataloader.dataset.opt["name"]
        rows = [self._validate(self.dynamic.routing, dataloader, current_iter, tb_logger, save_img)]
        if self.dynamic.compare and not self.is_train:
            others = ["full", *map(str, self.supernet.subnets)]
            for routing in others:
                if routing != self.dynamic.routing:
                    rows.append(self._validate(routing, dataloader, current_iter, None, False))
        if not self.is_train:
            path = Path(self.opt["path"]["results_root"]) / f"{name}.json"
            path.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")

    def _validate(
        self, routing: str, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool
    ) -> dict[str, Any]:
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        options = self.dynamic
        self.upscaler = DynamicUpscaler(
            net, self.thresholds, self._known_patch_size(), options.halo, routing, options.max_tile
        )
        self._map_folder = self._maps(dataloader, save_img)
        self.reports, self.routing = [], routing
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        return {"name": routing, **getattr(self, "metric_results", {}), **self._summary()}

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        summary = self._summary()
        get_root_logger().info(
            f"{dataset_name}, routing {self.routing}: {summary['flops_share']:.1%} of the full network's FLOPs "
            f"({summary['flops_share_run']:.1%} with halos), {summary['milliseconds']:.0f} ms per image"
        )
        if tb_logger:
            tb_logger.add_scalar(f"metrics/{dataset_name}/flops_share", summary["flops_share"], current_iter)

    def _summary(self) -> dict[str, float]:
        patches = np.concatenate([report.choice.ravel() for report in self.reports])
        share = np.array([self.supernet.share(subnet) for subnet in self.supernet.subnets])
        return {
            "flops_share": float(share[patches].mean()),
            "flops_share_run": float(np.mean([report.flops_share_run for report in self.reports])),
            "milliseconds": float(np.mean([report.milliseconds for report in self.reports])),
        }

    def _maps(self, dataloader: Any, save_img: bool) -> Path | None:
        if not (save_img and self.dynamic.save_map):
            return None
        return Path(self.opt["path"]["visualization"]) / f"{dataloader.dataset.opt['name']}_maps"

    def _known_patch_size(self) -> int:
        if self.patch_size is None:
            raise ValueError("the patch size of the routing is unknown: give val:dynamic:patch_size in LR pixels")
        return self.patch_size


def dynamic_options(opt: dict[str, Any]) -> DynamicOptions:
    """The block `val:dynamic` of an option file.

    Raises:
        ValueError, TypeError: something in it is wrong, or `paper` routing will have no difficulty classes.
    """
    dynamic = parse(DynamicOptions, (opt.get("val") or {}).get("dynamic"), "val:dynamic")
    train = opt.get("datasets", {}).get("train")
    no_classes = train is not None and train.get("type") != "HESPairedImageDataset" and dynamic.thresholds is None
    if no_classes and dynamic.routing == "paper":
        raise ValueError(
            "val:dynamic:routing `paper` needs difficulty classes, which the training set of type "
            f"{train.get('type')} does not have: use HESPairedImageDataset (hes:sample_level: 1.0 keeps its sampling "
            "uniform), give val:dynamic:thresholds, or use routing: full"
        )
    return dynamic


def _training_patch(opt: dict[str, Any]) -> int | None:
    """LR side of the training patches, if the options know it."""
    gt_size = opt.get("datasets", {}).get("train", {}).get("gt_size")
    return None if gt_size is None else int(gt_size) // int(opt["scale"])


def _check_weights(net: nn.Module, weights: dict[str, Any], path: str) -> None:
    """Refuse a checkpoint of another architecture by its first difference."""
    own, names = net.state_dict(), _without_prefix(weights)
    missing = [name for name in own if name not in names]
    if missing or len(names) > len(own):
        other = next((name for name in names if name not in own), None)
        raise ValueError(
            f"weights {path} are of another architecture than network_g: "
            + (f"they lack {missing[0]}" if missing else f"they have {other}, which network_g lacks")
        )
    for name, weight in own.items():
        if weight.shape != names[name].shape:
            raise ValueError(
                f"weights {path} do not fit network_g: {name} is {tuple(names[name].shape)} there and "
                f"{tuple(weight.shape)} here; compare num_feat, num_block and upscale"
            )


def _without_prefix(weights: dict[str, Any]) -> dict[str, Any]:
    tensors: Iterable[tuple[str, Any]] = ((k, v) for k, v in weights.items() if isinstance(v, Tensor))
    return {name.removeprefix("module."): weight for name, weight in tensors}
