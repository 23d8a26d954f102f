"""Values of a study's grid as the command line takes them, with commas between."""

from orbitune.cli.options import split_names
from orbitune.errors import OrbituneError
from orbitune.evaluation.statistics.comparison import MARGIN
from orbitune.study.grid import ALL


def parse_numbers(option: str, text: str | None) -> list[int]:
    """Return the whole numbers in text such as "4,8,16"; none for None.

    Raises:
        OrbituneError: a part is not a whole number.
    """
    return [_number(option, part) for part in split_names(option, text)]


def parse_seeds(text: str | None) -> int | list[int] | None:
    """Parse the number of seeds, such as "3", or a list, such as "0,1,2" or "4,".

    Raises:
        OrbituneError: a part is not a whole number.
    """
    numbers = parse_numbers("--seeds", text)
    return numbers[0] if len(numbers) == 1 and "," not in str(text) else numbers or None


def parse_shots(text: str | None) -> list[int | str]:
    """Return the training tiles per class in text such as "1,5,all".

    Raises:
        OrbituneError: a part is neither a whole number nor "all".
    """
    return [part if part == ALL else _number("--shots", part) for part in split_names("--shots", text)]


def parse_margin(text: str | None) -> float | dict[str, float]:
    """Return the margin in text such as "0.5", or that of each split in "random=0.5,spatial=1".

    Raises:
        OrbituneError: a part is no number, or has no split where there are several.
    """
    parts = [part.rpartition("=") for part in split_names("--margin", text)]
    try:
        margins = {split.strip(): float(value) for split, _, value in parts}
    except ValueError:
        margins = {}
    if text is not None and (len(margins) < len(parts) or (len(parts) > 1 and "" in margins)):
        raise OrbituneError(
            f"--margin takes points, or those of each split as in random=0.5,spatial=1, not {text!r}."
        )
    return margins.get("", margins) if margins else MARGIN


def _number(option: str, text: str) -> int:
    if not text.isdecimal():
        raise OrbituneError(f"{option} takes whole numbers separated by commas, not {text!r}.")
    return int(text)
