"""timm, which is no dependency of Orbitune.

It needs torchvision, and only the torchvision that was built with the installed torch works: pip would take
another one, or another torch. The command that installs the right one depends on the installed torch.
"""

import re
from importlib.metadata import version
from typing import Any

from orbitune.errors import ModelError, first_line
from orbitune.extras import MissingExtraError, is_installed

# The oldest whose models restore all buffers that checkpoints do not hold, which transformers asks of them.
OLDEST = (1, 0, 23)
_INDEX = "https://download.pytorch.org/whl"


def install_timm() -> str:
    """Return the command that installs timm with the torchvision of the installed torch."""
    number, _, build = version("torch").partition("+")
    # torch 2.0 came with torchvision 0.15, and both count on by one.
    paired = f"'torchvision==0.{int(number.split('.')[1]) + 15}.*'"
    index = f" --extra-index-url {_INDEX}/{build}" if build else ""
    return f"pip install 'timm>={'.'.join(map(str, OLDEST))}' {paired}{index}"


def require_timm(whose: str) -> None:
    """Check that timm and torchvision are installed; nothing is imported.

    Args:
        whose: what is read with timm, as the beginning of the message.

    Raises:
        MissingExtraError: one is missing, or timm is too old.
    """
    if missing := [name for name in ("timm", "torchvision") if not is_installed(name)]:
        raise MissingExtraError(f"{whose} Install {' and '.join(missing)}: {install_timm()}.")
    stated = version("timm")
    if tuple(map(int, re.findall(r"\d+", stated)[:3])) < OLDEST:
        raise MissingExtraError(f"{whose} timm {stated} is too old: {install_timm()}.")


def import_timm() -> Any:
    """Import timm.

    Raises:
        MissingExtraError: it is not installed.
        ModelError: it cannot be imported, as with a torchvision of another torch.
    """
    require_timm("The backbone is computed by timm.")
    try:
        import timm
    except Exception as error:  # torchvision raises any type of error beside another torch
        raise ModelError(f"timm cannot be imported ({first_line(error)}): {install_timm()}.") from None
    return timm
