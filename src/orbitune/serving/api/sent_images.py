"""Images of a request: its body, or the files of a form."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbitune.errors import one_line
from orbitune.serving.error_handling import ApiError
from orbitune.suggestions import unknown

if TYPE_CHECKING:
    from fastapi import Request

MAX_FILES = 64  # in one request; all together are limited in bytes, see `orbitune.serving.app`
SEVERAL = "files"  # field of a form with several images
_USAGE = (
    "Send one image with POST: curl --data-binary @tile.png {url}, or curl -F file=@tile.png {url}; "
    "several as fields named files: curl -F files=@a.png -F files=@b.png {url}"
)
_TEXT_FIELDS = "The form has fields of text: parameters are part of the address, such as ?model=NAME&top_k=1."


@dataclass(frozen=True)
class SentImages:
    """The images of a request.

    Attributes:
        files: name and content of each.
        several: whether they were sent as fields named `files`, and are answered as a list.
    """

    files: list[tuple[str, bytes]]
    several: bool


def usage(address: str) -> str:
    """Return one line that says how to send images to the service at an address."""
    return _USAGE.format(url=f"{address}/api/predict")


def check_parameters(request: "Request", known: tuple[str, ...]) -> None:
    """Check the query of a request.

    Raises:
        ApiError: it has a parameter that is not one of these.
    """
    if foreign := [name for name in request.query_params if name not in known]:
        raise ApiError(422, unknown("parameter", foreign[0], known=known))


async def read_images(request: "Request", address: str) -> SentImages:
    """Return the body, the only file of a form, or its files in fields named `files`.

    Args:
        request: of a client.
        address: of the service, for the message of an error.

    Raises:
        ApiError: the form has another content, fields of text, or too many files.
    """
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    if not request.headers.get("content-type", "").lower().startswith("multipart/"):
        return SentImages([("image", await request.body())], several=False)
    try:
        async with request.form(max_files=MAX_FILES, max_fields=10) as form:
            sent = form.multi_items()
            fields = [(name, value) for name, value in sent if isinstance(value, UploadFile)]
            if fields and len(fields) < len(sent):  # it would be answered as if they were not there
                raise ApiError(422, _TEXT_FIELDS)
            several = {name for name, _ in fields} == {SEVERAL}
            if several or len(fields) == 1:
                files = [(one_line(each.filename or "image"), await each.read()) for _, each in fields]
                return SentImages(files, several)
    except (HTTPException, MultiPartException, UnicodeError) as error:
        if "Too many files" in str(error):
            sentence = f"At most {MAX_FILES} files are taken at once; send them in several requests."
            raise ApiError(413, sentence, kind="too_many_files") from None
    raise ApiError(400, usage(address), kind="invalid_form")
