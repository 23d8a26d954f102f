"""Standard streams that may be closed, full or no longer read."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from orbitune.errors import OrbituneError


class OutputError(OrbituneError):
    """Standard output is full or closed."""


class ReaderClosed(BaseException):
    """The reader of standard output has closed it, as `head` does."""


class _Stream:
    """A text stream whose write errors are handled by `failed`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; return the number of characters."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self.failed(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def failed(self, error: Exception) -> None:
        """Ignore the failure: a message lost on standard error must not cost a result."""
        _discard(2)


class _Output(_Stream):
    """Standard output whose write errors end the command, even if swallowed once."""

    _fault: OutputError | ReaderClosed | None = None

    def write(self, text: str) -> int:
        """Write text; raise an earlier write error again."""
        self._meet()
        return super().write(text)

    def flush(self) -> None:
        """Flush the stream; raise an earlier write error again."""
        self._meet()
        super().flush()

    def _meet(self) -> None:
        if self._fault:
            raise self._fault

    def failed(self, error: Exception) -> None:
        """Raise the failure, now and at each later write."""
        _discard(1)
        reason = getattr(error, "strerror", None) or str(error)
        gone = isinstance(error, BrokenPipeError)
        self._fault = ReaderClosed() if gone else OutputError(f"Cannot write to standard output: {reason}.")
        raise self._fault from None


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Report a full or closed standard output in one line.

    A full or closed standard error is ignored. Python sets a stream that is closed at start-up to None.
    Results would then be lost without a message, and the next opened file would get the stream's number and
    receive what libraries print.
    """
    before = sys.stdout, sys.stderr
    for number, stream in enumerate((sys.stdin, *before)):
        if stream is None:
            _occupy(number)
    sys.stdout = _Output(before[0] or _opened(1))
    sys.stderr = _Stream(before[1] or _opened(2))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _discard(number: int, access: int = os.O_WRONLY) -> None:
    """Put the null device in the place of a stream.

    Python writes the buffer of a stream that failed once more at exit: it would print an unhelpful error, and
    exit with 120.
    """
    opened = os.open(os.devnull, access)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _opened(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)


def _occupy(number: int) -> None:
    """Open the null device under the number of a closed stream, for reading only."""
    try:
        os.fstat(number)
    except OSError:
        _discard(number, os.O_RDONLY)
