"""What libtiff, GDAL and Pillow say of damaged files on their own: kept from the user's terminal.

What is wrong with a file reaches the user as one line of ours; theirs would come in between by the hundred.
"""

import ctypes
import functools
import logging

_LOGGERS = ("rasterio", "PIL.TiffImagePlugin", "PIL.PngImagePlugin")


@functools.cache
def silence_libraries() -> None:
    """Keep messages of the image libraries off stderr, in all threads and for good; cheap to call again.

    Loggers get a handler that drops what nobody else takes: a program that configures logging still sees
    their records. libtiff, which Pillow carries, prints from C unless its handlers are removed.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        from PIL import _imaging

        library = ctypes.CDLL(_imaging.__file__)  # symbols are looked up in the libraries it is linked with
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
    except (ImportError, OSError, AttributeError):
        pass  # a Pillow whose libtiff cannot be reached from here
