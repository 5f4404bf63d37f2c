"""What ends a run early: each is reported in one line, without a traceback."""

# Exit statuses.
DONE, CLAIM_FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """What the user can put right: a wrong argument, a folder that cannot be written, a damaged checkpoint."""


class Interrupted(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and stands at the end of a step."""


class NonFiniteError(UserError):
    """A recorded value is NaN or infinite.

    Attributes:
        loop: name of the loop.
        step: index of the step in its loop, from 0.
        value: the offending value.
    """

    def __init__(self, message: str, loop: str, step: int, value: float) -> None:
        super().__init__(message)
        self.loop, self.step, self.value = loop, step, value
