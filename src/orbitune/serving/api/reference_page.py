"""The API's reference as one page without scripts, from its OpenAPI document."""

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


def render_reference(document: dict[str, Any], *, url: str) -> str:
    """Return the page.

    Args:
        document: OpenAPI document.
        url: address of the server, for the examples.
    """
    from jinja2 import Environment

    template = files("orbitune.serving").joinpath("assets").joinpath("api.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"code": _mark_code, "type": _describe_type}
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    page = environment.from_string(template)
    return page.render(document=document, operations=operations, schemas=schemas, url=url)


def _mark_code(text: str) -> "Markup":
    """Return a text as HTML, with what stands in backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _describe_type(schema: dict[str, Any]) -> "Markup":
    """Return the type of a value as HTML, such as "list of LabelBody", linked, or "number or null"."""
    from markupsafe import Markup

    if "$ref" in schema:
        return Markup('<a href="#{0}">{0}</a>').format(schema["$ref"].rpartition("/")[2])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return Markup(" or ").join(_describe_type(each) for each in options)
    if schema.get("type") == "array":
        return Markup("list of {}").format(_describe_type(schema["items"]))
    if isinstance(values := schema.get("additionalProperties"), dict):
        return Markup("by name a {}").format(_describe_type(values))
    return Markup("{}").format(schema.get("type", "any"))
