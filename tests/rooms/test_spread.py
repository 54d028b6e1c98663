"""Runs of small pieces: all of them, in order, on no more threads than were given, and the lowest failure."""

import threading
import time

import pytest

from gpu_nx47.spread import beside, spread


@pytest.mark.parametrize("threads", [1, 2, 3, 100])
@pytest.mark.parametrize("number", [0, 1, 2, 7, 16, 320])
@pytest.mark.parametrize("runs", [1, 8])
def test_every_piece_is_done_once_and_in_order(number, threads, runs):
    parts = spread(number, list, threads, "test", runs)
    assert [k for part in parts for k in part] == list(range(number))
    if runs == 1:
        assert len(parts) <= threads


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_as_were_given_and_one_is_the_callers(threads):
    seen = set()

    def work(run):
        seen.add(threading.current_thread().name)
        time.sleep(0.01)

    spread(40, work, threads, "test")
    assert seen == ({threading.current_thread().name} if threads == 1 else {f"test_{k}" for k in range(3)})


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_of_several_failures_the_lowest_is_raised_and_the_rest_is_dropped(threads):
    done = []

    def work(run):
        done.extend(run)
        time.sleep(0.02 if 3 in run else 0.002)
        if run.stop > 3:
            raise ValueError(max(3, run.start))

    with pytest.raises(ValueError, match=r"^3$"):
        spread(400, work, threads, "test", 100)
    assert threads == 1 or len(done) < 300
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test_")]


@pytest.mark.parametrize("threads", [1, 2, None])
def test_work_beside_is_done_when_the_block_is_and_its_failure_is_raised(threads):
    done = []
    with beside(lambda: done.append(threading.current_thread()), threads, "nx47-some"):
        pass
    (thread,) = done
    assert (thread is threading.current_thread()) == (threads == 1)
    with pytest.raises(ZeroDivisionError), beside(lambda: 1 // 0, threads, "nx47-some"):
        pass
    with pytest.raises(KeyError), beside(lambda: 1, threads, "nx47-some"):
        raise KeyError
