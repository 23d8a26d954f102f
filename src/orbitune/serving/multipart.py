"""Streaming parser of multipart forms: files go to the storage as they arrive."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError
from orbitune.serving.storage import Storage, delete_upload
from orbitune.serving.uploads import MAX_FILES_AT_ONCE

if TYPE_CHECKING:
    from fastapi import Request

_MAX_FIELD_BYTES = 1000  # of all fields that are not files
_CLOSE = {"connection": "close"}


async def receive_files(request: "Request", storage: Storage) -> list[Path]:
    """Write the files of a form to the storage; delete all of them if one fails.

    Args:
        request: POST request with a form.
        storage: where the files are written.

    Returns:
        Paths of the files, in the order of the form.

    Raises:
        HTTPException: status 400, if the form is invalid, incomplete or has too many files.
    """
    from fastapi import HTTPException
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type"))
    form = _FormWriter(storage)
    try:
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise FormParserError("no form")
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for part in request.stream():
            parser.write(part)
        parser.finalize()
        form.check_complete()
    except BaseException as error:
        form.delete_files()
        if isinstance(error, FormParserError | OrbituneError):
            text = str(error) if isinstance(error, OrbituneError) else "This is no form with files."
            raise HTTPException(400, text, _CLOSE) from None
        raise
    return form.files


class _FormWriter:
    """Callbacks of a multipart parser that write each file to the storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.files: list[Path] = []
        self._file: Any = None
        self._parts = self._field_bytes = 0
        self._complete = False
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        """Return the callbacks by the parser's names for them."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open_file,
            "on_part_data": self._write,
            "on_part_end": self._close_file,
            "on_end": self._end,
        }

    def check_complete(self) -> None:
        """Raise an OrbituneError if the form is cut short or holds no file."""
        if not (self._complete and self.files):
            raise OrbituneError("This form has no files, or is incomplete.")

    def delete_files(self) -> None:
        """Delete the files written so far."""
        self._close_file()
        for path in self.files:
            delete_upload(path)

    def _begin_part(self) -> None:
        self._parts, self._headers = self._parts + 1, {}
        if self._parts > MAX_FILES_AT_ONCE:
            raise OrbituneError(f"At most {MAX_FILES_AT_ONCE:,} files are accepted at once: send a zip.")

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _open_file(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in options and options.get(b"name") == b"files":
            path = self._storage.new_upload_path(options[b"filename"].decode("utf-8", "replace"))
            self.files.append(path)
            self._file = path.open("xb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.write(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > _MAX_FIELD_BYTES:
            raise OrbituneError("Send the files in a field named files, and no others.")

    def _close_file(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._complete = True
