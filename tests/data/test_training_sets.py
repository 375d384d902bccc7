"""How many difficulty classes a training set will have, by its options alone."""

import pytest

from wbsr_data.training_sets import difficulty_classes


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({"type": "HESPairedImageDataset"}, 10),
        ({"type": "HESPairedImageDataset", "hes": {"sampling": "bspa", "num_classes": 4}}, 4),
        ({"type": "DDAPairedImageDataset", "hes": {"num_classes": 3, "refresh": 5}}, 3),
        ({"type": "DDAPairedImageDataset", "hes": None}, 10),
        ({"type": "PairedImageDataset"}, None),
        ({}, None),
    ],
)
def test_the_classes_of_a_training_set(train, expected):
    assert difficulty_classes(train) == expected


def test_a_wrong_block_is_named():
    with pytest.raises(ValueError, match="datasets:train:hes: unknown key 'refresh'"):
        difficulty_classes({"type": "HESPairedImageDataset", "hes": {"refresh": 5}})
