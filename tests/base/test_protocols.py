"""Who takes part in which agreement, and by methods that can be called as the agreement says."""

import inspect

import pytest

from wbsr import compat

compat.install()

from wbsr import plugin  # noqa: E402
from wbsr_base import protocols  # noqa: E402

TAKES_PART = {
    "DrawsItsOrder": {"HESPairedImageDataset", "DDAPairedImageDataset"},
    "BringsItsLoader": {"HESPairedImageDataset", "DDAPairedImageDataset"},
    "FollowsTraining": {"DDAPairedImageDataset"},
    "AddsToTrainingState": {"DDAPairedImageDataset", "WBSRModel", "ClassSRModel"},
    "AddsToCheckpoint": {"WBSRModel", "ClassSRModel"},
    "ChecksOptions": {
        "BDLoss",
        "ClassSR",
        "ClassSRModel",
        "DDAPairedImageDataset",
        "HESPairedImageDataset",
        "Supernet",
        "WBSRModel",
    },
    "DeclaresOptions": set(),
    "KeepsState": {"BDLoss"},
    "NeedsLR": {"BDLoss"},
    "DrawsAtRandom": {"BDLoss"},
}


@pytest.mark.parametrize("name", TAKES_PART)
def test_our_classes_take_part_where_they_should(name):
    protocol = getattr(protocols, name)
    found = {each for each in plugin.__all__ if isinstance(getattr(plugin, each), protocol)}
    assert found == TAKES_PART[name]


@pytest.mark.parametrize(("name", "each"), [(name, each) for name in TAKES_PART for each in sorted(TAKES_PART[name])])
def test_their_methods_take_what_they_are_given(name, each):
    protocol, cls = getattr(protocols, name), getattr(plugin, each)
    for method, declared in inspect.getmembers(protocol, inspect.isfunction):
        if method.startswith("_"):
            continue
        parameters = inspect.signature(declared).parameters.values()
        values = [object() for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = {p.name: object() for p in parameters if p.kind is p.KEYWORD_ONLY}
        inspect.signature(getattr(cls, method)).bind(*values, **keywords)  # or it raises


def test_a_stock_class_takes_no_part():
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.losses.basic_loss import L1Loss
    from basicsr.models.sr_model import SRModel

    for name in TAKES_PART:
        for stock in (PairedImageDataset, L1Loss, SRModel):
            assert not isinstance(stock, getattr(protocols, name)), (stock, name)
