"""The limit of what is read here."""


class UnknownModelError(Exception):
    """A model that is left to transformers and PEFT."""


def require(known: bool) -> None:
    """Raise an `UnknownModelError` for a model that is not known here.

    Args:
        known: whether it is.
    """
    if not known:
        raise UnknownModelError
