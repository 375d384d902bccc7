"""ClassSR's losses of the classifier, by hand and at their bounds."""

import pytest
import torch

from wbsr_models.training.classsr_losses import average_loss, class_loss

P = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])


def test_the_class_loss_by_hand():
    first = 0.5 + 0.6 + 0.1
    second = 0.25 + 0.0 + 0.25
    assert class_loss(P).item() == pytest.approx(-(first + second) / 2)


def test_the_average_loss_by_hand():
    means = [0.475, 0.35, 0.175]
    assert average_loss(P).item() == pytest.approx(sum(abs(mean - 1 / 3) for mean in means) / (4 / 3))


@pytest.mark.parametrize("branches", [2, 3, 5])
def test_the_losses_reach_their_bounds(branches):
    undecided = torch.full((4, branches), 1 / branches)
    all_in_one = torch.eye(branches)[torch.zeros(4, dtype=torch.long)]
    one_each = torch.eye(branches)
    assert class_loss(undecided).item() == pytest.approx(0, abs=1e-6)
    assert class_loss(all_in_one).item() == class_loss(one_each).item() == -(branches - 1)
    assert average_loss(undecided).item() == pytest.approx(0, abs=1e-6)
    assert average_loss(one_each).item() == pytest.approx(0, abs=1e-6)
    assert average_loss(all_in_one).item() == pytest.approx(1)


def test_together_they_ask_for_decided_patches_and_an_even_use():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for _ in range(300):
        probabilities = logits.softmax(1)
        (class_loss(probabilities) + 6 * average_loss(probabilities)).backward()
        with torch.no_grad():
            logits -= logits.grad
        logits.grad = None
    assert sorted(logits.argmax(1).tolist()) == [0, 0, 1, 1, 2, 2]
    assert logits.softmax(1).max(1).values.min() > 0.9
