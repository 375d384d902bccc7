"""Threads that compute side by side do every job once, each alone, and leave torch as it was."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from wbsr_models.inference import workers

THREADS = 3


@pytest.fixture(autouse=True)
def pools_of_its_own(three_threads):
    workers._made.cache_clear()
    yield
    workers._made.cache_clear()


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
        workers.run(range(1000), work, THREADS)
    assert len(done) < 900
    workers.run(range(2000, 2010), work, THREADS)
    assert {*range(2000, 2010)} <= {*done}


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


def test_modes_of_the_caller_hold_in_the_threads():
    found = set()

    def work(job):
        found.add((torch.is_inference_mode_enabled(), (torch.ones(2, 2) @ torch.ones(2, 2)).dtype))

    workers.run(range(9), work, THREADS)
    assert found == {(False, torch.float32)}
    found.clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        workers.run(range(9), work, THREADS)
    assert found == {(True, torch.bfloat16)}


def test_an_interrupt_ends_the_run_once_what_has_begun_is_done():
    code = """
import os, signal, time, torch
from wbsr_models.inference import workers
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(3)
begun, done = [], []
def work(job):
    begun.append(job)
    if job == 5:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.02)
    done.append(job)
try:
    workers.run(range(200), work, 3)
except KeyboardInterrupt:
    ended = sorted(done)
    time.sleep(0.2)
    print(sorted(begun) == sorted(done) == ended, len(done) < 200)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.strip() == "True True"


def test_where_no_further_thread_can_start_jobs_are_done_here(monkeypatch):
    start = threading.Thread.start

    def refuse(self):
        if threading.active_count() > 1 + before:
            raise RuntimeError("can't start new thread")
        start(self)

    done, before = [], threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers.run(range(5), lambda job: done.append((job, threading.get_ident())), THREADS)
    assert done == [(job, threading.get_ident()) for job in range(5)]
    monkeypatch.undo()
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [THREADS]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_makes_threads_of_its_own():
    workers.run(range(5), lambda job: None, THREADS)
    child = os.fork()
    if child == 0:
        done = []
        workers.run(range(5), done.append, THREADS)
        os._exit(0 if sorted(done) == list(range(5)) else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == (child, 0)


def test_a_thread_that_outlives_the_main_one_goes_on():
    code = """
import threading, time, torch
from wbsr_models.inference import workers
torch.set_num_threads(2)
def later():
    time.sleep(0.5)
    done = []
    workers.run(range(4), done.append, 2)
    print(sorted(done))
workers.run(range(4), lambda job: None, 2)
threading.Thread(target=later).start()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.strip() == "[0, 1, 2, 3]"
