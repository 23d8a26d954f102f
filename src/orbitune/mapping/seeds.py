"""Seeds of draws, checked before the work that they decide."""

from pydantic import ValidationError

from orbitune.errors import DataError
from orbitune.recipe_settings import OptimisationSettings
from orbitune.settings_errors import describe_value


def check_seed(seed: int) -> None:
    """Check that a seed is one that a recipe takes too.

    Raises:
        DataError: it is negative, or has more than 32 bits.
    """
    try:
        OptimisationSettings(seed=seed)
    except ValidationError as error:
        raise DataError(f"--seed: {describe_value(error)}.") from None
