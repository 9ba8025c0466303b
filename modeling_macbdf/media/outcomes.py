"""Typed outcomes: what became of a media file, and in which words.

Every failure of a file leaves `media/` as a `MediaError` that carries a `Status` and a reason. FFmpeg's own errors are
translated here and nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

# First bytes of containers that we know: with them, a file that cannot be read is damaged rather than "no media".
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "an MP4 or MOV file"),
    (4, b"moov", "an MP4 or MOV file"),
    (4, b"mdat", "an MP4 or MOV file"),
    (4, b"wide", "an MP4 or MOV file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (0, b"RIFF", "an AVI or WAV file"),
    (0, b"\x00\x00\x01\xba", "an MPEG program stream"),
    (0, b"\x00\x00\x01\xb3", "an MPEG video"),
    (0, b"FLV", "an FLV file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"ID3", "an MP3 file"),
    (0, b"\x30\x26\xb2\x75", "an ASF or WMV file"),
)
_STILL = ((0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG", "PNG"))  # pictures that people try


class Status(StrEnum):
    """What became of one file. `scored`, `no_audio` and, of a voice that was judged, `no_video` come with a score."""

    scored = "scored"  # picture and voice were judged
    no_face = "no_face"  # the picture shows no face that is large and steady enough
    no_audio = "no_audio"  # no usable sound: judged on the picture alone
    no_video = "no_video"  # no moving picture: judged on the voice alone where the model does that
    too_short = "too_short"  # shorter than what a judgement needs
    undecodable = "undecodable"  # a media file, but damaged or in an unknown codec
    not_media = "not_media"  # something else than audio or video
    missing = "missing"  # no such file
    too_large = "too_large"  # over the byte, pixel or memory limit
    too_long = "too_long"  # over the duration or frame limit
    unreadable = "unreadable"  # not allowed to read it
    timeout = "timeout"  # over the wall-clock limit
    internal_error = "internal_error"  # our own fault


# The next try may go better: the file is there, the disk answers, a fault of ours is mended.
MAY_PASS = (Status.missing, Status.unreadable, Status.timeout, Status.internal_error)


class MediaError(ValueError):
    """One file could not be used.

    Attributes:
        status (`Status`): The kind of failure.
        reason (`str`): The rule that failed and the value that broke it, in words.
        path (`str`): The file.
    """

    def __init__(self, status: Status, reason: str, path: str | os.PathLike[str]) -> None:
        self.status = status
        self.reason = reason
        self.path = os.fspath(path)
        super().__init__(f"{self.path}: {status}: {reason}")

    def __reduce__(self) -> tuple[type[MediaError], tuple[Status, str, str]]:
        """Pickle by the three arguments, so that the error crosses process boundaries."""
        return (MediaError, (self.status, self.reason, self.path))


def missing_extra(package: str, extra: str) -> ImportError:
    """Return the error for an optional dependency that is not installed, with the command that installs it."""
    return ImportError(
        f"{package} is not installed. It comes with the extra {extra}; in the project's folder: "
        f'pip install -e ".[{extra}]"'
    )


def check_file(path: str | os.PathLike[str], max_bytes: int) -> int:
    """Return the size of a readable regular file in bytes.

    Directories, FIFOs, sockets and devices are refused before anything opens them, since opening a FIFO can hang.

    Raises:
        MediaError: `missing`, `not_media`, `unreadable` or `too_large`.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        address = "://" in os.fspath(path)
        reason = (
            "it is an address, and nothing is downloaded: save the file first" if address else "there is no such file"
        )
        raise MediaError(Status.missing, reason, path) from None
    except (OSError, ValueError) as error:  # a name that is too long, a loop of links, a NUL in the name
        raise MediaError(Status.unreadable, f"the system cannot look it up: {error}", path) from None
    if not stat.S_ISREG(found.st_mode):
        raise MediaError(Status.not_media, f"it is {_kind(found.st_mode)}, not a regular file", path)
    if not os.access(path, os.R_OK):
        raise MediaError(Status.unreadable, "this user has no permission to read it", path)
    if found.st_size == 0:
        raise MediaError(Status.not_media, "the file is empty (0 bytes)", path)
    if found.st_size > max_bytes:
        raise MediaError(Status.too_large, f"{found.st_size} bytes is over the limit of {max_bytes} bytes", path)
    return found.st_size


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def container_by_magic(path: str | os.PathLike[str]) -> str | None:
    """Return which media container the first bytes announce, in words, or None."""
    return _begins_as(path, _MAGIC)


def _begins_as(path: str | os.PathLike[str], known: Sequence[tuple[int, bytes, str]]) -> str | None:
    try:
        with Path(path).open("rb") as file:
            head = file.read(16)
    except OSError:
        return None
    return next((name for at, magic, name in known if head[at : at + len(magic)] == magic), None)


@contextmanager
def ffmpeg_errors(path: str | os.PathLike[str], doing: str, *, opened: bool = False) -> Iterator[None]:
    """Turn whatever FFmpeg raises inside the block into a `MediaError`.

    Args:
        path (`str` or `PathLike`): The file that is read.
        doing (`str`): What was being done, for the reason, such as "opening it".
        opened (`bool`, *optional*, defaults to False): The file was already opened as media: whatever its content
            makes fail is damage.
    """
    av = _av()  # only here: this module is imported by code that decodes nothing
    try:
        yield
    except MediaError:
        raise
    except (av.error.FFmpegError, OSError, MemoryError, OverflowError, UnicodeError) as error:
        status = _status_of(error, path, opened)
        still = status is Status.not_media and _begins_as(path, _STILL)
        reason = f"it is a {still} picture, and only what moves or sounds is judged" if still else _words(error)
        raise MediaError(status, f"{doing} failed: {reason}", path) from error


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise missing_extra("av (PyAV)", "media") from error
    return av


def _status_of(error: BaseException, path: str | os.PathLike[str], opened: bool) -> Status:
    av_error = _av().error
    if isinstance(error, MemoryError):
        return Status.too_large
    if isinstance(error, (TimeoutError, av_error.ExitError)):
        return Status.timeout
    if not os.path.exists(path):
        return Status.missing
    if not os.access(path, os.R_OK):
        return Status.unreadable
    # A decoder's "not permitted" or "no such file" is about the content: the system lets us read the file.
    return Status.undecodable if opened or container_by_magic(path) else Status.not_media


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or "no further words"
    return f"{text} ({type(error).__name__})"
