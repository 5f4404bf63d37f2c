"""Where a NaN or an infinity began: the run is replayed from its last checkpoint, and the last steps are watched."""

import contextlib
import math
from typing import Any

import tinygrad_hw as tg

from .errors import NonFiniteError, UserError
from .experiment import Experiment
from .folder import Order, RunFolder
from .loop import Loop, Step
from .progress import Silent
from .run import Run
from .signals import StopRequest
from .state import first_non_finite


class _FoundError(Exception):
    """What the replay was looking for."""


class Replay(Run[Any]):
    """A run that writes nothing and watches the failing step and the one before it.

    Recorded operations are watched by the engine's anomaly mode; what a loop tracks is searched after the first of the
    two steps, which finds what was computed outside the tape.
    """

    def __init__(
        self, experiment: Experiment, order: Order, config: Any, folder: RunFolder, failure: NonFiniteError
    ) -> None:
        super().__init__(experiment, order, config, folder, Silent(), StopRequest(lambda text: None), write=False)
        self._failure = failure
        self._watch = contextlib.ExitStack()

    def before_step(self, loop: Loop, step: Step) -> None:
        if loop.name == self._failure.loop and step.index == max(0, self._failure.step - 1):
            self._watch.enter_context(tg.detect_anomaly(nan=True, inf=math.isinf(self._failure.value)))

    def after_step(self, loop: Loop, step: Step) -> None:
        if loop.name != self._failure.loop:
            return
        if step.index == self._failure.step:
            raise self._failure
        if step.index == self._failure.step - 1:
            found = first_non_finite(loop.state().arrays)
            if found is not None:
                raise _FoundError(f"after step {step.index + 1}, {found[0]}")

    def stop_watching(self) -> None:
        """Leaves anomaly mode."""
        self._watch.close()


def find_origin(experiment: Experiment, order: Order, config: Any, folder: RunFolder, failure: NonFiniteError) -> str:
    """One line about the first operation or tracked array that was not finite."""
    replay = Replay(experiment, order, config, folder, failure)
    try:
        experiment.run(replay)
    except _FoundError as found:
        return f"it began {found}"
    except tg.AnomalyError as anomaly:
        return f"it began in a recorded operation: {' '.join(str(anomaly).split())}"
    except NonFiniteError:
        return "every recorded operation and tracked array before it is finite: it began in this step, outside the tape"
    finally:
        replay.stop_watching()
        replay.close()
    raise UserError("the value was finite when the step was repeated: the experiment does not repeat itself")
