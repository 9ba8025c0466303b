"""Time stamps that cannot be true, and files put end to end, whose time stamps begin anew in the middle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

Item = TypeVar("Item")

_LEAP = Fraction(1, 2)  # s: by which a false time stamp is off, at least; frames may be in slight disorder
_BACK = 1  # s: a smaller step back is no splice
_BEGIN = 5  # s: where the time stamps of the next file begin, on the clock of the first; pages of Ogg may be long


@dataclass(slots=True)
class _Place:
    """Where one stream is: which shift holds for it, its last packet and the end of that, in seconds.

    `leap` is a packet that stood far ahead of that: where the next one goes on from it, there is a gap.
    """

    shift: int
    last: Fraction
    end: Fraction
    leap: Fraction | None = None


class Splices:
    """Puts a file's packets on one clock where its time stamps begin anew, as after `cat a.ts b.ts`.

    A shift is one for all streams, so that picture and sound stay together: the stream that comes first at a splice
    sets it to the end of all of them, and the others take it up where they step back. So every pass over the streams
    of a file finds the same shifts, whichever one it decodes.
    """

    def __init__(self) -> None:
        self._shifts = [Fraction(0)]
        self._places: dict[int, _Place] = {}

    @property
    def count(self) -> int:
        """How often the time stamps began anew."""
        return len(self._shifts) - 1

    def place(self, packet: Any, start: Fraction) -> None:
        """Move a packet's time stamps.

        Args:
            packet (`av.Packet`): The next packet of the file, whatever stream it is of.
            start (`Fraction`): Its decoding time on the file's clock, in seconds.
        """
        begin = start + self._shifts[-1]
        place = self._places.setdefault(packet.stream.index, _Place(self.count, begin, begin))
        if start + self._shifts[place.shift] < place.end - _BACK and start < _BEGIN:
            if place.shift == self.count:
                self._shifts.append(max(other.end for other in self._places.values()) - start)
            place.shift = self.count
            place.last = place.end = start + self._shifts[-1]
            place.leap = None
        shift = self._shifts[place.shift]
        moved = start + shift
        ahead = moved > place.end + _BACK
        if ahead and (place.leap is None or abs(moved - place.leap) > _BACK):
            place.leap = moved  # it may be one false time stamp: no file is put behind it
        else:
            before = place.leap if ahead and place.leap is not None else place.last
            lasts = (packet.duration or 0) * packet.time_base or max(moved - before, Fraction(0))
            place.last, place.end, place.leap = moved, moved + lasts, None
        if shift:
            ticks = round(shift / packet.time_base)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks


def without_leaps(
    frames: Iterable[tuple[Fraction | None, Item]], kind: str, warnings: list[str]
) -> Iterator[tuple[Fraction | None, Item]]:
    """Yield frames with their times, but none whose time stamp leaps ahead while the next one is back in order.

    Args:
        frames (`Iterable` of pairs): Time in seconds or None, and frame.
        kind (`str`): "video" or "audio", for the warning.
        warnings (`list[str]`): Gets a sentence if any frame was left out.
    """
    before: Fraction | None = None
    held: tuple[Fraction | None, Item] | None = None
    left_out = 0
    for now in frames:
        if held is not None and _leaps(before, held[0], now[0]):
            left_out += 1
        elif held is not None:
            yield held
            before = held[0]
        held = now
    if held is not None:
        yield held
    if left_out:
        warnings.append(f"{left_out} frames of the {kind} were left out because their time leaps ahead and back")


def _leaps(before: Fraction | None, here: Fraction | None, after: Fraction | None) -> bool:
    return here is not None and after is not None and after < here - _LEAP and (before is None or before < after)
