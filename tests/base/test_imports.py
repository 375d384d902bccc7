"""BasicSR imports where torchvision's functional_tensor and the standard library's distutils are gone."""

import importlib
import importlib.util
import sys

import pytest
from torch.utils.data import DataLoader

from wbsr import compat
from wbsr_base.compat import imports


def fail(name):
    raise ImportError(name)


def test_a_spawned_worker_mends_basicsr_before_it_unpickles_the_dataset(images, options, monkeypatch):
    compat.install()
    from basicsr.data import build_dataset

    monkeypatch.chdir(images(3))
    dataset = build_dataset(options["datasets"]["val"] | {"phase": "val", "scale": 2})
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context="spawn")
    assert [tuple(batch["gt"].shape) for batch in loader] == [(1, 3, 32, 32)] * 3


@pytest.mark.parametrize("module", imports.MOVED)
def test_a_removed_module_offers_the_function_that_moved(module, monkeypatch):
    home, function = imports.MOVED[module]
    monkeypatch.setitem(sys.modules, module, None)  # restored after the test, whatever the mend puts there
    del sys.modules[module]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    imports.provide_moved(module)
    assert getattr(sys.modules[module], function) is getattr(importlib.import_module(home), function)


@pytest.mark.parametrize("module", imports.MOVED)
def test_a_module_that_is_there_stays(module, monkeypatch):
    own = object()
    monkeypatch.setitem(sys.modules, module, own)
    imports.provide_moved(module)
    assert sys.modules[module] is own


def test_a_torchvision_that_does_not_import_says_what_to_install(monkeypatch):
    monkeypatch.setattr(imports.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="install torch and torchvision together"):
        imports.provide_moved("torchvision.transforms.functional_tensor")


def test_setuptools_is_imported_before_a_missing_distutils(monkeypatch):
    imported = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(imports.importlib, "import_module", imported.append)
    imports.provide_distutils()
    assert imported == ["setuptools", "distutils.version"]


def test_distutils_without_setuptools_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(imports.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="pip install setuptools"):
        imports.provide_distutils()
