"""SIGINT during training: finish the step, save, and stop."""

import logging
import signal
import threading
from types import TracebackType

logger = logging.getLogger(__name__)


class InterruptFlag:
    """Handler of SIGINT that sets a flag; a second SIGINT stops at once.

    Outside the main thread, which alone receives signals, it does nothing.

    Attributes:
        is_set: whether SIGINT arrived.
    """

    def __init__(self) -> None:
        self.is_set = False

    def __enter__(self) -> "InterruptFlag":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _set(self, number: int, frame: object) -> None:
        self.is_set = True
        signal.signal(signal.SIGINT, self._before)
        logger.info("Stopping after this step ...")
