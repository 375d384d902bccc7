"""Threads that compute side by side do every job once, each alone, and leave torch as it was."""

import threading
import time

import pytest
import torch

from wbsr_models.inference import workers

THREADS = 3


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_every_job_is_done_once_by_threads_that_compute_alone():
    done, seen, together = [], set(), threading.Barrier(THREADS)

    def work(job):
        if len(done) < THREADS:
            together.wait(10)  # all work at the same time
        done.append(job)
        seen.add((threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()))

    assert workers.cores(torch.device("cpu")) == THREADS
    workers.run(range(THREADS), work, THREADS)
    workers.run(range(THREADS, 40), work, THREADS)
    assert sorted(done) == list(range(40))
    assert len(seen) == THREADS
    assert {state[1:] for state in seen} == {(1, False)}
    assert threading.get_ident() not in {state[0] for state in seen}
    assert torch.get_num_threads() == THREADS


def test_a_new_thread_of_the_user_computes_with_all_cores():
    workers.run(range(3), lambda job: None, THREADS)
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [THREADS]


@pytest.mark.parametrize("error", [IndexError, ValueError, KeyboardInterrupt])
def test_what_a_job_raises_is_raised_and_the_rest_is_left(error):
    done = []

    def work(job):
        if job == 3:
            raise error("job 3")
        time.sleep(0.005)
        done.append(job)

    with pytest.raises(error, match="job 3"):
        workers.run(range(100), work, THREADS)
    assert len(done) < 20
    workers.run(range(200, 210), work, THREADS)
    assert {*range(200, 210)} <= {*done}


def test_one_thread_works_here_in_order():
    done = []
    workers.run(range(5), lambda job: done.append((job, threading.get_ident())), 1)
    assert done == [(job, threading.get_ident()) for job in range(5)]


def test_a_worker_and_a_gpu_have_one_thread():
    found = []
    workers.run([0], lambda job: found.append(workers.cores(torch.device("cpu"))), 2)
    assert found == [1]
    assert workers.cores(torch.device("cuda")) == 1


def test_without_openmp_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(workers, "_has_openmp", lambda: False)
    assert workers.cores(torch.device("cpu")) == 1
