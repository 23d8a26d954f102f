"""The API's reference as one page without scripts, from its OpenAPI document."""

from importlib.resources import files
from typing import Any


def render_reference(document: dict[str, Any], *, url: str) -> str:
    """Return the page.

    Args:
        document: OpenAPI document.
        url: address of the server, for the examples.
    """
    from jinja2 import Environment

    template = files("orbitune.serving").joinpath("assets").joinpath("api.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template)
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    return page.render(document=document, operations=operations, schemas=schemas, url=url, type_of=_type_of)


def _type_of(schema: dict[str, Any]) -> str:
    """Return the type of a value in words, such as "list of LabelBody" or "number or null"."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type_of(each) for each in options)
    if schema.get("type") == "array":
        return f"list of {_type_of(schema['items'])}"
    if isinstance(values := schema.get("additionalProperties"), dict):
        return f"object of {_type_of(values)} by name"
    return str(schema.get("type", "any"))
