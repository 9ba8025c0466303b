"""Items got in a thread of their own."""

import threading
import time

import pytest

from modeling_macbdf.read_ahead import read_ahead


def counting(until, seen, closed=None):
    try:
        for number in range(until):
            seen.append(number)
            yield number
    finally:
        if closed is not None:
            closed.append(threading.current_thread())


def test_items_keep_their_order():
    assert list(read_ahead(counting(50, []), 3)) == list(range(50))


def test_no_more_is_got_than_may_wait():
    seen = []
    items = read_ahead(counting(50, seen), 3)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(seen) <= 1 + 3 + 1  # given, waiting, in the hand of the thread
    items.close()


def test_an_error_comes_after_the_items_before_it():
    def failing():
        yield 1
        raise OSError("the file is gone")

    items = read_ahead(failing(), 3)
    assert next(items) == 1
    with pytest.raises(OSError, match="the file is gone"):
        next(items)


def test_a_consumer_that_stops_closes_the_generator_in_its_thread():
    closed = []
    items = read_ahead(counting(10**9, [], closed), 2)
    next(items)
    items.close()
    assert len(closed) == 1
    assert closed[0] is not threading.current_thread()
    assert not closed[0].is_alive()
