"""`GaussianMixture`: what it accepts, what it keeps, and its file."""

import copy
import json

import pytest
import torch

from wbsr_losses import GaussianMixture

EYE = torch.eye(3).repeat(2, 1, 1)


def mixture(dtype=torch.float32):
    return GaussianMixture(torch.tensor([0.25, 0.75], dtype=dtype), torch.rand(2, 3, dtype=dtype), 0.01 * EYE.to(dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [0.5, 0.6]}, "weights must sum to 1, got 1.1"),
        ({"weights": [0.0, 1.0]}, "weights must be positive"),
        ({"weights": [-0.5, 1.5]}, "weights must be positive"),
        ({"weights": [1.0]}, r"weights must be \(2,\) to match means \(2, 3\), got \(1,\)"),
        ({"weights": [float("nan"), 1.0]}, "weights must be finite"),
        ({"weights": ["a", "b"]}, "weights must be an array of numbers"),
        ({"means": torch.zeros(3)}, r"means must be \(components, dimension\)"),
        ({"means": torch.full((2, 3), float("inf"))}, "means must be finite"),
        ({"covariances": torch.eye(2).repeat(2, 1, 1)}, r"covariances must be \(2, 3, 3\)"),
        ({"covariances": torch.stack([torch.eye(3), -torch.eye(3)])}, r"covariances\[1\] must be positive definite"),
        (
            {"covariances": torch.stack([torch.zeros(3, 3), torch.eye(3)])},
            r"covariances\[0\] must be positive definite",
        ),
        ({"covariances": EYE + torch.ones(3, 3).triu(1)}, r"covariances\[0\] must be symmetric"),
    ],
)
def test_what_is_no_mixture_is_refused(change, message):
    arrays = {"weights": [0.5, 0.5], "means": torch.zeros(2, 3), "covariances": EYE, **change}
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**arrays)


def test_points_of_another_dimension_and_negative_noise_are_refused():
    with pytest.raises(ValueError, match=r"points must be \(\.\.\., 3\) for this mixture, got \(5, 2\)"):
        mixture().log_prob(torch.zeros(5, 2))
    with pytest.raises(ValueError, match="noise_variance must be at least 0, got -1"):
        mixture().log_prob(torch.zeros(5, 3), -1)


def test_arrays_are_buffers_of_a_known_precision():
    assert set(mixture().state_dict()) == {"weights", "means", "covariances"}
    assert not list(mixture().parameters())
    assert GaussianMixture([1.0], [[0.0]], [[[1.0]]]).means.dtype == torch.float32
    assert mixture(torch.float64).means.dtype == torch.float64
    assert mixture().to(torch.float64).log_prob(torch.zeros(1, 3, dtype=torch.float64)).dtype == torch.float64


def test_half_precision_points_are_worked_out_in_float32():
    one = mixture()
    x = torch.rand(100, 3).bfloat16()
    torch.testing.assert_close(one.log_prob(x), one.log_prob(x.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(one.log_prob(x.float()), one.log_prob(x))


def test_points_may_have_any_leading_shape():
    one, x = mixture(torch.float64), torch.rand(2, 4, 5, 3, dtype=torch.float64)
    got = one.log_prob(x, 0.01)
    assert got.shape == (2, 4, 5)
    torch.testing.assert_close(got[1, 2, 3], one.log_prob(x[1, 2, 3], 0.01))


def test_a_saved_mixture_loads_exactly(tmp_path):
    one = mixture()
    one.save(tmp_path / "folder" / "mixture.json")
    again = GaussianMixture.load(tmp_path / "folder" / "mixture.json")
    for name, value in one.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["mixture.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "mixture.json"
    mixture().save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        mixture().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def damaged(change):
    def damage(path):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, **change}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(path.read_text()[:50]), "is damaged"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is damaged"),
        (lambda path: path.write_text("[1, 2]"), "is no mixture file"),
        (damaged({"version": 99}), "must be a mixture file of version 1, got 99"),
        (damaged({"weights": [2, 3]}), "is damaged: weights must sum to 1"),
        (damaged({"means": [[1], [1, 2]]}), "is damaged: means must be an array of numbers"),
        (damaged({"weights": None}), "is damaged: weights must be an array of numbers"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    path = tmp_path / "mixture.json"
    mixture().save(path)
    damage(path)
    with pytest.raises(ValueError, match=message) as caught:
        GaussianMixture.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no mixture file"):
        GaussianMixture.load(tmp_path / "nothing.json")


def test_a_copy_is_independent():
    one = mixture()
    other = copy.deepcopy(one)
    other.means.add_(1)
    assert not torch.equal(one.means, other.means)
