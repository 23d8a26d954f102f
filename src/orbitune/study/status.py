"""How a run or a trial ended."""

from typing import Literal

Status = Literal["done", "failed", "diverged"]
