"""Silence messages that libtiff, GDAL and Pillow print about damaged files.

Orbitune reports a damaged file in one line; the libraries would add hundreds. Silencing applies to the whole
process, is permanent, and is cheap to repeat.
"""

import ctypes
import functools
import logging
import re
import sys
from contextlib import suppress
from typing import Any

from orbitune.errors import first_line

_IN_MEMORY = re.compile(r"(/vsimem/\S*/)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\w+:?\s*")
_LOGGERS = ("rasterio", "PIL.TiffImagePlugin", "PIL.PngImagePlugin")


@functools.cache
def silence_libraries() -> None:
    """Keep messages of Pillow, its libtiff, and rasterio's loggers off stderr.

    Loggers get a null handler: a program that configures logging still receives their records.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
    with suppress(ImportError):  # a Pillow without its C part
        from PIL import _imaging

        _silence_libtiff(_imaging.__file__)


def library_reason(error: BaseException) -> str:
    """Return the first line of a library's error, without the random name of a file in memory."""
    return _IN_MEMORY.sub("", first_line(error))


@functools.cache
def silence_rasterio() -> None:
    """Keep messages that bypass rasterio's error handler off stderr."""
    import rasterio._base

    silence_libraries()
    _silence_libtiff(rasterio._base.__file__)
    # GDAL quotes undecodable bytes of damaged files, and rasterio then fails to log them, twice.
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def quiet_unraisable(found: Any) -> None:
        if not re.match(r"rasterio\._\w+\.(log_error|chaining_error_handler)", str(found.object)):
            unraisable(found)

    def quiet_uncaught(kind: Any, error: Any, trace: Any) -> None:
        if trace or not issubclass(kind, UnicodeDecodeError):
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = quiet_unraisable, quiet_uncaught


def _silence_libtiff(extension: str) -> None:
    """Remove the error handlers of a compiled module's libtiff, which print from C."""
    with suppress(OSError, AttributeError):  # this libtiff cannot be reached
        library = ctypes.CDLL(extension)  # also looks up symbols in the libraries it links to
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
