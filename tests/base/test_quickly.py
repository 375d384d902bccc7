"""Importing without the collector of garbage leaves it as it was, whatever happens."""

import gc
import weakref

import pytest

from wbsr_base import quickly


class Ring:
    """An object that only the collector can free."""

    def __init__(self):
        self.itself = self


def test_nothing_is_collected_meanwhile_and_what_is_made_is_kept():
    before = gc.get_freeze_count()
    with quickly.importing():
        assert not gc.isenabled()
        ring = Ring()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gone = weakref.ref(ring)
    gc.unfreeze()
    del ring
    gc.collect()
    assert gone() is None


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError, match="gone"), quickly.importing():
        raise ImportError("gone")
    assert gc.isenabled()
    gc.unfreeze()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with quickly.importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
