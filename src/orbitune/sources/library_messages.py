"""Silence messages that libtiff, GDAL and Pillow print about damaged files.

Orbitune reports a damaged file in one line; the libraries would add hundreds of lines of their own.
Silencing is permanent, covers all threads, and is cheap to repeat.
"""

import ctypes
import functools
import logging
import re
import sys
from contextlib import suppress
from typing import Any

_LOGGERS = ("rasterio", "PIL.TiffImagePlugin", "PIL.PngImagePlugin")


@functools.cache
def silence_libraries() -> None:
    """Keep messages of Pillow and its libtiff off stderr, and what rasterio logs.

    Loggers get a handler that drops what nobody else takes: a program that configures logging still sees
    their records.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
    with suppress(ImportError):  # a Pillow without its C part
        from PIL import _imaging

        _silence_libtiff(_imaging.__file__)


@functools.cache
def silence_rasterio() -> None:
    """Keep messages off stderr that bypass rasterio's error handler."""
    import rasterio._base

    silence_libraries()
    _silence_libtiff(rasterio._base.__file__)
    # GDAL quotes bytes of damaged files that are no text: rasterio fails to log them, twice.
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def quiet_unraisable(found: Any) -> None:
        if not re.match(r"rasterio\._\w+\.(log_error|chaining_error_handler)", str(found.object)):
            unraisable(found)

    def quiet_uncaught(kind: Any, error: Any, trace: Any) -> None:
        if trace or not issubclass(kind, UnicodeDecodeError):
            uncaught(kind, error, trace)

    sys.unraisablehook, sys.excepthook = quiet_unraisable, quiet_uncaught


def _silence_libtiff(extension: str) -> None:
    """Remove the handlers of the libtiff that a compiled module is linked with: they print from C."""
    with suppress(OSError, AttributeError):  # a libtiff that cannot be reached from here
        library = ctypes.CDLL(extension)  # symbols are looked up in the libraries it is linked with
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
