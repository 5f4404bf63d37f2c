"""Ctrl-C and SIGTERM: inside a loop the step is finished first, so that the checkpoint is of a whole step."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While active, the first SIGINT or SIGTERM inside a loop sets `requested`; any other raises KeyboardInterrupt."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.requested = False
        self.inside_loop = False
        self._notify = notify
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.inside_loop or self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._notify("stopping after this step; once more to stop at once")
