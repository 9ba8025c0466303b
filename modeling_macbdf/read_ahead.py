"""The next items while the last one is being worked on: decoding goes on while faces are looked for."""

from collections.abc import Generator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
_LOOK_S = 0.1  # how often a full queue asks whether anybody still listens


def read_ahead(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, got in a thread of their own.

    The thread ends, and closes the generator, when the items or the consumer end. What the generator raises is raised
    here, after the items before it.

    Args:
        items: a generator that no other thread touches.
        depth: how many items may wait; the memory that this costs is theirs.
    """
    waiting: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    over = Event()
    thread = Thread(target=_fill, args=(items, waiting, over), daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = waiting.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        over.set()
        thread.join()


def _fill(
    items: Generator[Item, None, None], waiting: "Queue[tuple[bool, Item | BaseException | None]]", over: Event
) -> None:
    end: BaseException | None = None
    try:
        for item in items:
            if not _put(waiting, (True, item), over):
                break
    except BaseException as error:  # passed on to the consumer's thread, whatever it is
        end = error
    finally:
        items.close()
    _put(waiting, (False, end), over)


def _put(waiting: "Queue[tuple[bool, Item | BaseException | None]]", entry: tuple, over: Event) -> bool:
    """Whether it was put: not where the consumer is gone."""
    while not over.is_set():
        try:
            waiting.put(entry, timeout=_LOOK_S)
        except Full:
            continue
        return True
    return False
