"""The testing half of our models: checkpoints with what routing needs, validation by dynamic inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.basicsr import get_root_logger, imwrite, tensor2img
from wbsr_base.weights.files import read_weights
from wbsr_models.checkpoints.metadata import Metadata, read_metadata
from wbsr_models.inference.subnet_map import draw_subnet_map
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.routing.policies import make_policy
from wbsr_models.routing.profile import Profile
from wbsr_models.testing import validation
from wbsr_models.testing.curve import plot_curve
from wbsr_models.testing.options import check_network, dynamic_options
from wbsr_models.testing.protocol import STRIDE, covered
from wbsr_models.testing.shared_validation import SharedValidation
from wbsr_models.testing.validation import Run


class DynamicSRModel(SharedValidation):
    """An SRModel of a `DynamicNetwork` that tests by dynamic inference and writes one self-contained checkpoint.

    A subclass says which architecture it is for, `network_type`, and how it routes where the options don't say.

    Raises:
        ValueError: `network_g` is of another type, an option is wrong, or the routing lacks what it needs.
    """

    network_type: str
    default_routing = "paper"

    lq: Tensor
    gt: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        check_network(opt, type(self).__name__, self.network_type)
        self.dynamic = dynamic_options(opt, self.default_routing)
        self.by_patches = self.dynamic.test.protocol == "classsr"
        patch_size = self.dynamic.test.patch_size or _training_patch(opt)
        self.profile = None if patch_size is None else Profile(patch_size, self.dynamic.test.thresholds)
        super().__init__(opt)
        self.supernet: DynamicNetwork = self.get_bare_model(self.net_g)
        if self.supernet.scale != opt["scale"]:
            raise ValueError(
                f"scale must be that of network_g, which upscales by {self.supernet.scale}, got {opt['scale']}: "
                "change it, or upscale of network_g:backbone"
            )
        self._run: Run | None = None
        self._upscaler: DynamicUpscaler | None = None
        self._map_folder: Path | None = None
        if not self.is_train:
            self._check_thresholds()

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str = "params") -> None:
        """Load weights, WBSR's or stock ones of the backbone, and what a WBSR checkpoint says beside them."""
        metadata = read_metadata(read_weights(load_path), load_path)
        if metadata is not None:
            self._take_over(metadata.profile)
        super().load_network(net, load_path, strict, param_key)

    def network_metadata(self, net_label: str) -> dict[str, Any]:
        """The `wbsr` entry of the checkpoint."""
        if net_label != "net_g" or self.profile is None:
            return {}
        own = Profile(self.profile.patch_size, self.profile.thresholds)  # tables are measured once a training is over
        return {"wbsr": Metadata(self.opt["network_g"], own).plain()}

    def test(self) -> None:
        """Upscale `self.lq` by dynamic inference."""
        run = self._run or self._own_run()
        if not run.reports and not self.is_train and validation.is_comparison(self.dynamic):
            run.upscale(self.lq)  # so that the times of the comparison do not begin with a cold start
        self.output, report = run.upscale(self.lq)
        run.reports.append(report)
        if self.by_patches:
            self._crop()
        if self._map_folder is not None:
            image = tensor2img([self.output.detach().cpu()])
            cell = STRIDE if self.by_patches else self._known_profile().patch_size
            picture = draw_subnet_map(image, report.choice, cell * self.supernet.scale, len(self.supernet.subnets))
            imwrite(picture, str(self._map_folder / f"{Path(self.lq_path).stem}_map.png"))

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """BasicSR's validation by dynamic inference, and in a test once more for every budget and fixed subnet."""
        rows: list[dict[str, Any]] = []
        for run in self._runs(dataloader):
            first = not rows
            self._run, self._map_folder = run, self._maps(dataloader, save_img and first)
            super().nondist_validation(dataloader, current_iter, tb_logger if first else None, save_img and first)
            summary = validation.summary(self.gathered(run.reports))
            rows.append({"name": run.label, **getattr(self, "metric_results", {}), **summary, **run.point})
        self._run = None
        if not self.is_train and self.opt["rank"] == 0:
            self._write_rows(dataloader, rows)

    def make_upscaler(self) -> DynamicUpscaler:
        """The network's upscaler under the full network, with its weights as they are now. It is made once: what it
        finds out about networks, and what it compiles, holds for all validations of a training."""
        profile, full = self._known_profile(), make_policy("full", {})
        if self._upscaler is None:
            network = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
            self._upscaler = DynamicUpscaler(network, profile, full, self.dynamic.settings)
        self._upscaler.refresh()
        return self._upscaler.routed(full, profile)

    def _runs(self, dataloader: Any) -> list[Run]:
        upscaler, requests = self.make_upscaler(), self.dynamic.requests
        if self.is_train:
            return validation.make_runs(validation.in_training(requests), upscaler, self.by_patches, baselines=False)
        compare = validation.is_comparison(self.dynamic)
        if compare:
            requests = validation.with_every_subnet(requests, upscaler)
        if any("class_shares" in policy.needs for _, policy in requests):
            profile, images = self._known_profile(), (data["lq"][0] for data in dataloader)
            counts = validation.count_classes(images, profile.thresholds or (), profile.patch_size, self.by_patches)
            upscaler = validation.with_shares(upscaler, self.gathered(counts))
        return validation.make_runs(requests, upscaler, self.by_patches, compare)

    def _own_run(self) -> Run:
        """For a `test` outside of a validation."""
        requests = validation.in_training(self.dynamic.requests)
        return validation.make_runs(requests, self.make_upscaler(), self.by_patches, baselines=False)[0]

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        if self._run is None:
            return
        summary = validation.summary(self.gathered(self._run.reports))
        get_root_logger().info(
            f"{dataset_name}, routing {self._run.label}: {summary['flops_share']:.1%} of the full network's FLOPs "
            f"({summary['flops_share_run']:.1%} with halos), {summary['milliseconds']:.0f} ms per image"
        )
        if tb_logger:
            tb_logger.add_scalar(f"metrics/{dataset_name}/flops_share", summary["flops_share"], current_iter)

    def _write_rows(self, dataloader: Any, rows: list[dict[str, Any]]) -> None:
        name, images = dataloader.dataset.opt["name"], len(dataloader.dataset)
        path = Path(self.opt["path"]["results_root"]) / f"{name}.json"
        setting = validation.setting(self.opt, name, images, self.dynamic.test.protocol, self.device)
        path.write_text(json.dumps({**setting, "rows": rows}, indent=2) + "\n", encoding="utf-8")
        metrics = self.opt["val"].get("metrics")
        if validation.is_comparison(self.dynamic) and metrics:
            plot_curve(rows, next(iter(metrics)), name, path.with_suffix(".png"))

    def _maps(self, dataloader: Any, save_img: bool) -> Path | None:
        if not (save_img and self.dynamic.test.save_map):
            return None
        return Path(self.opt["path"]["visualization"]) / f"{dataloader.dataset.opt['name']}_maps"

    def _crop(self) -> None:
        """Leave of SR and HR what the patches of the protocol cover."""
        rows, cols = (slice(covered(side) * self.supernet.scale) for side in self.lq.shape[-2:])
        self.output = self.output[..., rows, cols]
        if hasattr(self, "gt"):
            self.gt = self.gt[..., rows, cols]

    def _take_over(self, found: Profile) -> None:
        """Learn what a checkpoint knows, where the options don't say otherwise."""
        options = self.dynamic.test
        patch_size = found.patch_size if self.profile is None else self.profile.patch_size
        self.profile = Profile(patch_size, options.thresholds or found.thresholds)
        if not self.is_train:  # tables were measured on these weights, which a training changes
            self.profile = self.profile.with_tables(found)

    def _check_thresholds(self) -> None:
        by_class = [policy.mode for _, policy in self.dynamic.requests if "thresholds" in policy.needs]
        if by_class and (self.profile is None or self.profile.thresholds is None):
            raise ValueError(
                f"val:dynamic:routing `{by_class[0]}` needs thresholds, which the checkpoint of "
                "path:pretrain_network_g does not have: train with HESPairedImageDataset, run `wbsr "
                "calibrate`, give val:dynamic:thresholds, or use routing: full"
            )

    def _known_profile(self) -> Profile:
        if self.profile is None:
            raise ValueError("the patch size of the routing is unknown: give val:dynamic:patch_size in LR pixels")
        return self.profile


def _training_patch(opt: dict[str, Any]) -> int | None:
    """LR side of the training patches, if the options know it."""
    gt_size = opt.get("datasets", {}).get("train", {}).get("gt_size")
    return None if gt_size is None else int(gt_size) // int(opt["scale"])
