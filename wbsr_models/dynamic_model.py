"""The testing half of our models: checkpoints with what routing needs, validation by dynamic inference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.basicsr import get_root_logger, imwrite, tensor2img
from wbsr_data.difficulty import classify
from wbsr_data.gradient import gradient_score
from wbsr_models.baselines import Bicubic, Dense
from wbsr_models.checkpoint import Metadata, check_weights, load_checkpoint, read_metadata
from wbsr_models.curve import plot_curve
from wbsr_models.dynamic_options import check_network, dynamic_options
from wbsr_models.edge_routing import EdgeTable
from wbsr_models.policy import Routing
from wbsr_models.protocol import PATCH, STRIDE, PatchProtocol, covered
from wbsr_models.shared_validation import SharedValidation
from wbsr_models.subnet_map import draw_subnet_map
from wbsr_models.upscaler import DynamicUpscaler, Report

Upscale = Callable[[Tensor], tuple[Tensor, Report]]


class DynamicSRModel(SharedValidation):
    """An SRModel of a `DynamicNetwork` that tests by dynamic inference and writes one self-contained checkpoint.

    A subclass says which architecture it is for, `network_type`, and how it routes where the options don't say.

    Raises:
        ValueError: `network_g` is of another type, an option is wrong, or `paper` routing has no difficulty classes.
    """

    network_type: str
    default_routing = "paper"

    lq: Tensor
    gt: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        check_network(opt, type(self).__name__, self.network_type)
        self.dynamic = dynamic_options(opt, self.default_routing)
        self.patch_size = self.dynamic.patch_size or _training_patch(opt)
        self.thresholds = self.dynamic.thresholds
        self.error_table: tuple[tuple[float, ...], ...] | None = None
        self.edge_table: EdgeTable | None = None
        super().__init__(opt)
        self.supernet: DynamicNetwork = self.get_bare_model(self.net_g)
        if self.supernet.scale != opt["scale"]:
            raise ValueError(
                f"scale must be that of network_g, which upscales by {self.supernet.scale}, got {opt['scale']}: "
                "change it, or upscale of network_g:backbone"
            )
        self.reports: list[Report] = []
        self._map_folder: Path | None = None
        self._is_timed = False
        by_class = [name for name, routing in self.dynamic.requests() if routing.by_class]
        if not self.is_train and by_class and self.thresholds is None:
            raise ValueError(
                f"val:dynamic:routing `{by_class[0]}` needs thresholds, which the checkpoint of "
                "path:pretrain_network_g does not have: train with HESPairedImageDataset, run `wbsr "
                "calibrate`, give val:dynamic:thresholds, or use routing: full"
            )

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Load weights, WBSR's or stock ones of the backbone, and what a WBSR checkpoint says beside them."""
        content = load_checkpoint(load_path)
        metadata = read_metadata(content, load_path)
        if metadata is not None:
            self.thresholds = self.thresholds or metadata.thresholds
            self.patch_size = self.patch_size or metadata.patch_size
            # Errors were measured on these weights, and by classes of these thresholds and patches; training changes
            # the first, options may change the others.
            if not self.is_train and (self.thresholds, self.patch_size) == (metadata.thresholds, metadata.patch_size):
                self.error_table = metadata.error_table
            if not self.is_train and self.patch_size == metadata.patch_size:
                self.edge_table = metadata.edge_table
        key = next((key for key in (param_key, "params", "params_ema") if key in content), None)
        check_weights(self.get_bare_model(net), content if key is None else content[key], load_path)
        super().load_network(net, load_path, strict, key)

    def network_metadata(self, net_label: str) -> dict[str, Any]:
        """The `wbsr` entry of the checkpoint."""
        if net_label != "net_g" or self.patch_size is None:
            return {}
        return {"wbsr": Metadata(self.opt["network_g"], self.patch_size, self.thresholds).plain()}

    def test(self) -> None:
        """Upscale `self.lq` by dynamic inference."""
        if self._is_timed and not self.reports:
            self.upscaler(self.lq)  # so that the times of the comparison do not begin with a cold start
        self.output, report = self.upscaler(self.lq)
        self.reports.append(report)
        if self._by_patches:
            self._crop()
        if self._map_folder is not None:
            image = tensor2img([self.output.detach().cpu()])
            cell = STRIDE if self._by_patches else self._known_patch_size()
            picture = draw_subnet_map(image, report.choice, cell * self.supernet.scale, len(self.supernet.subnets))
            imwrite(picture, str(self._map_folder / f"{Path(self.lq_path).stem}_map.png"))

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """BasicSR's validation by dynamic inference, and in a test once more for every budget and fixed subnet."""
        name = dataloader.dataset.opt["name"]
        requests = self.dynamic.requests()
        if self.is_train:  # the set would have to be read twice, each time
            requests = [(label, replace(routing, over="image")) for label, routing in requests[:1]]
        self._is_timed = not self.is_train and (self.dynamic.compare or len(requests) > 1)
        if self._is_timed:
            known = {routing.mode for _, routing in requests}
            fixed = [mode for mode in ("full", *map(str, self.supernet.subnets)) if mode not in known]
            requests += [(mode, Routing(mode, cost=self.dynamic.cost)) for mode in fixed]
        over_set = any(routing.over == "set" for _, routing in requests)
        upscaler = self._make_upscaler(self._class_shares(dataloader) if over_set else None)
        runs: dict[str, Upscale] = {}
        for label, routing in requests:  # an error comes before any work
            routed = upscaler.routed(routing)
            runs[label] = PatchProtocol(routed) if self._by_patches else routed
        if self._is_timed:
            runs |= {"dense": Dense(upscaler.supernet), "bicubic": Bicubic(self.supernet.scale)}
        budgets = {label: {"budget": routing.budget} for label, routing in requests if routing.budget is not None}
        rows: list[dict[str, Any]] = []
        for label, self.upscaler in runs.items():
            first = not rows
            row = self._validate(label, dataloader, current_iter, tb_logger if first else None, save_img and first)
            rows.append({**row, **budgets.get(label, {})})
        if not self.is_train and self.opt["rank"] == 0:
            path = Path(self.opt["path"]["results_root"]) / f"{name}.json"
            content = {**self._setting(name, len(dataloader.dataset)), "rows": rows}
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            if self._is_timed and self.opt["val"].get("metrics"):
                plot_curve(rows, next(iter(self.opt["val"]["metrics"])), name, path.with_suffix(".png"))

    def _class_shares(self, dataloader: Any) -> tuple[float, ...]:
        """How frequent the difficulty classes are in a set, by which a budget over the set is kept."""
        thresholds = self.thresholds or ()
        counts = []
        for data in dataloader:
            lr, grid = data["lq"][0], (self._known_patch_size(), self._known_patch_size())
            if self._by_patches:
                lr, grid = lr[:, : covered(lr.shape[1]), : covered(lr.shape[2])], (PATCH, STRIDE)
            classes = classify(gradient_score(lr, *grid), thresholds)
            counts.append(np.bincount(classes.numpy().ravel(), minlength=len(thresholds) + 2)[1:])
        total = np.sum(self.gathered(counts), axis=0)
        return tuple((total / total.sum()).tolist())

    def _make_upscaler(self, class_shares: tuple[float, ...] | None) -> DynamicUpscaler:
        options = self.dynamic
        return DynamicUpscaler(
            self.get_bare_model(getattr(self, "net_g_ema", self.net_g)),
            self.thresholds,
            self._known_patch_size(),
            options.halo,
            "full",
            options.max_tile,
            error_table=self.error_table,
            class_shares=class_shares,
            memory_mb=options.memory_mb,
            precision=options.precision,
            compile=options.compile,
            self_ensemble=options.self_ensemble,
            edge_table=self.edge_table,
        )

    def _validate(
        self, label: str, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool
    ) -> dict[str, Any]:
        self._map_folder = self._maps(dataloader, save_img)
        self.reports, self.routing = [], label
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        return {"name": label, **getattr(self, "metric_results", {}), **self._summary()}

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
        """Cost and FLOPs per patch as means over all patches of the set; the other two as means over images."""
        reports = self.gathered(self.reports)
        patches = [report.choice.size for report in reports]
        return {
            "cost_share": float(np.average([report.cost_share for report in reports], weights=patches)),
            "flops_share": float(np.average([report.flops_share for report in reports], weights=patches)),
            "flops_share_run": float(np.mean([report.flops_share_run for report in reports])),
            "milliseconds": float(np.mean([report.milliseconds for report in reports])),
            "router_share": float(np.mean([report.router_share for report in reports])),
        }

    def _setting(self, name: str, images: int) -> dict[str, Any]:
        """What was tested, and where: what the rows of a result file belong to."""
        return {
            "test": self.opt["name"],
            "set": name,
            "images": images,
            "protocol": self.dynamic.protocol,
            "scale": self.supernet.scale,
            "network": self.opt["network_g"],
            "weights": self.opt["path"].get("pretrain_network_g"),
            "metrics": self.opt["val"].get("metrics"),
            "device": self.device.type if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def _maps(self, dataloader: Any, save_img: bool) -> Path | None:
        if not (save_img and self.dynamic.save_map):
            return None
        return Path(self.opt["path"]["visualization"]) / f"{dataloader.dataset.opt['name']}_maps"

    @property
    def _by_patches(self) -> bool:
        return self.dynamic.protocol == "classsr"

    def _crop(self) -> None:
        """Leave of SR and HR what the patches of the protocol cover."""
        rows, cols = (slice(covered(side) * self.supernet.scale) for side in self.lq.shape[-2:])
        self.output = self.output[..., rows, cols]
        if hasattr(self, "gt"):
            self.gt = self.gt[..., rows, cols]

    def _known_patch_size(self) -> int:
        if self.patch_size is None:
            raise ValueError("the patch size of the routing is unknown: give val:dynamic:patch_size in LR pixels")
        return self.patch_size


def _training_patch(opt: dict[str, Any]) -> int | None:
    """LR side of the training patches, if the options know it."""
    gt_size = opt.get("datasets", {}).get("train", {}).get("gt_size")
    return None if gt_size is None else int(gt_size) // int(opt["scale"])
