"""What is known of a trained network that routing needs: a checkpoint's knowledge, as one object."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wbsr_models.routing.edge_table import EdgeTable

NEEDED = {  # by field: what it is, and where it comes from
    "thresholds": "the thresholds of the difficulty classes, which training with HESPairedImageDataset or `wbsr "
    "calibrate` writes into the checkpoint",
    "class_shares": "the shares of the difficulty classes, which `wbsr calibrate` writes into the checkpoint",
    "edge_table": "the edge table, which `wbsr calibrate --edge-table` writes into the checkpoint",
}
FROM_TRAINING = ("thresholds",)  # the others are measured once a training is over


@dataclass(frozen=True)
class Profile:
    """What a checkpoint knows beside the weights.

    Args:
        patch_size: side of the routed patches in LR pixels, as in training.
        thresholds: K-1 increasing scores between the difficulty classes; None where training had no classes.
        error_table: (K, M), the mean squared error (RGB, range 0-1) of class k under subnet m, in order of FLOPs;
            from `wbsr calibrate`.
        class_shares: (K,), how frequent the classes are; from `wbsr calibrate`.
        edge_table: the PSNR to expect by edge score, for ARM's rule; from `wbsr calibrate --edge-table`.

    Raises:
        ValueError: no patch, a table without one row for each class, thresholds that fall, or numbers that are none.
    """

    patch_size: int
    thresholds: tuple[float, ...] | None = None
    error_table: tuple[tuple[float, ...], ...] | None = None
    class_shares: tuple[float, ...] | None = None
    edge_table: EdgeTable | None = None

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")
        bounds = np.asarray(self.thresholds or (), np.float64)
        if np.isnan(bounds).any() or (np.diff(bounds) < 0).any():
            raise ValueError(f"thresholds must not fall from class to class, got {bounds.tolist()}: calibrate again")
        for name in ("error_table", "class_shares"):
            rows = getattr(self, name)
            if not (np.hstack(rows or (0.0,)) >= 0).all():
                raise ValueError(f"{name} must hold numbers of at least 0: run wbsr calibrate again")
            if rows is not None and len(rows) != len(self.thresholds or ()) + 1:
                raise ValueError(
                    f"{name} must have one row for each of the {len(self.thresholds or ()) + 1} difficulty classes, "
                    f"got {len(rows)}: run wbsr calibrate again"
                )

    def with_tables(self, measured: Profile) -> Profile:
        """This profile with the tables of another, measured on the same weights, as far as they hold: none for patches
        of another size, and what was measured by class under the same thresholds alone."""
        if measured.patch_size != self.patch_size:
            return self
        if measured.thresholds == self.thresholds:
            return measured
        return replace(measured, thresholds=self.thresholds, error_table=None, class_shares=None)

    def check(self, num_subnets: int) -> None:
        """Refuse the tables of another network.

        Raises:
            ValueError: a table that has not one column for each subnet.
        """
        if self.edge_table is not None:
            self.edge_table.check(num_subnets)
        for row in self.error_table or ():
            if len(row) != num_subnets:
                raise ValueError(
                    f"error_table must have one column for each of the {num_subnets} subnets, got {len(row)} columns: "
                    "run wbsr calibrate again"
                )
