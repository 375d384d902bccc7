"""Work among processes: in order, each item once, and what goes wrong arrives."""

import os
import signal

import pytest

from wbsr_data.workers import in_workers


class Squares:
    def __init__(self, count, bad=None):
        self.count, self.bad = count, bad

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        if number == self.bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2, os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 3, None])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_items_come_in_order_whoever_made_them(workers, count):
    made = list(in_workers(Squares(count), workers))
    assert [square for square, _ in made] == [number**2 for number in range(count)]
    processes = {process for _, process in made}
    assert (os.getpid() in processes) is (workers == 0 and count > 0)
    assert workers is None or len(processes) <= max(workers, 1)


def test_who_stops_early_waits_for_nothing():
    items = in_workers(Squares(10_000), 2)
    assert next(items)[0] == 0
    items.close()


def test_a_process_that_was_killed_is_told():
    with pytest.raises(ValueError, match="was killed, as systems do when memory runs out: take fewer --workers"):
        list(in_workers(Squares(9, bad=4), 2))


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        in_workers(Squares(3), -1)
