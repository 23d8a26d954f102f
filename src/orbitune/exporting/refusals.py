"""Why an exported file is not kept."""

from orbitune.errors import RunError


class ExportRefusedError(RunError):
    """An exported model that differs too much from the trained model."""

    kind = "refused"


class ExportUndecidedError(ExportRefusedError):
    """An exported model of which the validation tiles are too few to tell what it loses."""

    kind = "undecided"


class UntraceableError(ExportRefusedError):
    """A model that PyTorch cannot translate to ONNX."""
