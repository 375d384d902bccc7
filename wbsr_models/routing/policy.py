"""What a routing policy is: an object that scores the patches of an image and chooses a subnet for each.

Its fields are its options. A new policy is a file with a subclass, and an entry in `policies.POLICIES`: the upscaler,
option files and commands find its options there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from wbsr_arch.subnet import Subnet
from wbsr_models.routing.choice import Choice, Scores
from wbsr_models.routing.profile import NEEDED, Profile

if TYPE_CHECKING:
    from torch import Tensor

    from wbsr_arch.dynamic import DynamicNetwork

Cost = Literal["flops", "latency"]
Choose = Callable[[Scores], Choice]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How much network each patch gets.

    A cost is a share of the full network's: 1 is the full network on every patch.

    Args:
        cost: what a subnet costs: its `flops`, or its `latency` as measured on the device.
        flat: interpolate flat patches, in which nothing differs by more than one level of 8 bits, at no cost, and flat
            places of the others exactly: white paper stays white.
    """

    name: ClassVar[str]
    knob: ClassVar[str | None] = None  # the option that asks for this policy where none is named
    on_a_curve: ClassVar[Mapping[str, Any]] = {}  # other defaults, where a test measures it at several values

    cost: Cost = "flops"
    flat: bool = False

    @property
    def mode(self) -> str:
        """What users call it."""
        return self.name

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields of a `Profile` without which it can't choose."""
        return ()

    @property
    def point(self) -> dict[str, float]:
        """Where on a curve of quality over cost it stands: the option that moves it, by default its knob, and its
        value; empty where that is no number."""
        value = None if self.knob is None else getattr(self, self.knob)
        return {self.knob: value} if self.knob is not None and isinstance(value, (int, float)) else {}

    @property
    def budget_in_time(self) -> float | None:
        """What one image may take, as a share of the full network's time for it; None where that is not bounded."""
        return None

    def scores(self, network: DynamicNetwork, lr: Tensor, patch_size: int, stride: int) -> Tensor:
        """What the patches of an LR image are chosen by; here their RMS gradient magnitudes.

        Args:
            network: whose subnets are chosen.
            lr: (C, H, W), range 0-1, on the network's device.
            patch_size: side of the patches in LR pixels.
            stride: distance between patches in LR pixels; positions are those of `wbsr_data.patch_positions`.

        Returns:
            float32 (rows, cols), or (rows, cols, M), on the device that made them.
        """
        from wbsr_data.gradient import gradient_score

        return gradient_score(lr, patch_size, stride)

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        """The function from scores to the number of each patch's subnet.

        Args:
            subnets: the network's, the full one last in FLOPs.
            costs: C_m of each, as a share of the full network's.
            profile: what is known of the network.

        Raises:
            ValueError: something that it needs is unknown, or its options ask for what the subnets can't give.
        """
        raise NotImplementedError

    def own_share(self, network: DynamicNetwork) -> float:
        """FLOPs of a network that routes a patch, over those of the full network on it; 0 where none is run."""
        return 0.0

    def for_one_image(self) -> Policy:
        """The same for an image that belongs to no set."""
        return self

    def check_profile(self, profile: Profile) -> None:
        """Refuse a profile that lacks what is needed.

        Raises:
            ValueError: it names what, and where it comes from.
        """
        for field in self.needs:
            if getattr(profile, field) is None:
                raise ValueError(f"routing `{self.mode}` needs {NEEDED[field]}; routing `full` does without")
