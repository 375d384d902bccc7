"""A model fed an image without its HR image has no HR image, whatever it was fed before."""

from types import SimpleNamespace

import pytest
import torch

from wbsr_base.basicsr import MODEL_REGISTRY, SRModel


@pytest.fixture
def model(options):
    return SRModel(options | {"num_gpu": 0, "dist": False, "is_train": True})


def item(**images):
    return {"lq": torch.rand(1, 3, 8, 8), **images}


def test_the_hr_image_of_another_item_is_forgotten(model):
    model.feed_data(item(gt=torch.rand(1, 3, 16, 16)))
    model.test()
    assert "gt" in model.get_current_visuals()
    model.feed_data(item())
    model.test()
    assert set(model.get_current_visuals()) == {"lq", "result"}


def test_basicsr_alone_keeps_it(model):
    original = SRModel.feed_data
    while hasattr(original, "__wrapped__"):
        original = original.__wrapped__
    for image in (item(gt=torch.rand(1, 3, 16, 16)), item()):
        original(model, image)
    assert hasattr(model, "gt")


@pytest.mark.parametrize("name", ["SRModel", "RealESRGANModel_basicsr", "RealESRNetModel_basicsr"])
def test_all_models_that_would_keep_it_are_mended(name):
    fed = SimpleNamespace(gt="of the item before", device="cpu", is_train=False, opt={})
    MODEL_REGISTRY.get(name).feed_data(fed, item())
    assert not hasattr(fed, "gt")


@pytest.mark.parametrize("metrics", [None, {"contrast": {"type": "result_contrast"}}])
def test_a_training_is_validated_without_hr_images(model, metrics):
    """With the metrics that look at the result alone, if any: they are not handed the training batch."""
    from basicsr.utils.registry import METRIC_REGISTRY

    if "result_contrast" not in METRIC_REGISTRY:

        @METRIC_REGISTRY.register()
        def result_contrast(img):
            return float(img.std())

    model.opt["val"] |= {"metrics": metrics, "save_img": False}
    images = [{"lq": torch.rand(3, 8, 8), "lq_path": f"{number}.png"} for number in range(2)]
    loader = torch.utils.data.DataLoader(Images(images))
    model.feed_data(item(gt=torch.rand(1, 3, 16, 16)))
    model.optimize_parameters(1)
    model.nondist_validation(loader, 1, None, save_img=False)
    assert list(getattr(model, "metric_results", {})) == list(metrics or {})
    model.feed_data(item(gt=torch.rand(1, 3, 16, 16)))
    model.optimize_parameters(2)


class Images(list):
    opt = {"name": "single"}  # noqa: RUF012
