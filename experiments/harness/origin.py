"""Where a NaN or an infinity began: the run is replayed from its last checkpoint, and the last steps are watched."""

import contextlib
import math
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_hw as tg

from .errors import NonFiniteError, UserError
from .experiment import Experiment
from .folder import Order, RunFolder
from .loop import Loop, Step
from .progress import Silent
from .run import Run
from .signals import StopRequest
from .state import first_non_finite

Watch = Callable[[], contextlib.AbstractContextManager[Any]]


class _FoundError(Exception):
    """What the replay was looking for."""


class Replay(Run[Any]):
    """A run that writes nothing and watches the failing step and the one before it.

    Between the two, what the loop tracks is searched: it may have been spoilt by the first and noticed in the second.
    """

    def __init__(
        self,
        experiment: Experiment,
        order: Order,
        config: Any,
        folder: RunFolder,
        failure: NonFiniteError,
        watch: Watch,
    ) -> None:
        super().__init__(experiment, order, config, folder, Silent(), StopRequest(lambda text: None), write=False)
        self._failure, self._watch = failure, watch
        self.watched = contextlib.ExitStack()

    def before_step(self, loop: Loop, step: Step) -> None:
        self.watched.close()
        if loop.name == self._failure.loop and step.index >= self._failure.step - 1:
            self.watched.enter_context(self._watch())

    def after_step(self, loop: Loop, step: Step) -> None:
        if loop.name != self._failure.loop or step.index < self._failure.step - 1:
            return
        found = first_non_finite(loop.state().arrays)
        if step.index == self._failure.step:
            if found is not None:
                raise self._failure
            raise UserError(f"{self._failure}; but finite when repeated: the experiment does not repeat itself")
        if found is not None:
            raise _FoundError(f"after step {step.index + 1}, {found[0]}")


def find_origin(experiment: Experiment, order: Order, config: Any, folder: RunFolder, failure: NonFiniteError) -> str:
    """One line about the first operation or tracked array that was not finite.

    Recorded operations are watched by the engine's anomaly mode. When it finds nothing, the value came from plain
    arrays: then a second replay lets NumPy raise where it overflows or makes a NaN.

    Raises:
        UserError: the repeated step is finite.
    """

    def recorded() -> contextlib.AbstractContextManager[Any]:
        return tg.detect_anomaly(nan=True, inf=math.isinf(failure.value))

    def plain() -> contextlib.AbstractContextManager[Any]:
        return np.errstate(over="raise", invalid="raise", divide="raise")

    for watch in (recorded, plain):
        replay = Replay(experiment, order, config, folder, failure, watch)
        try:
            experiment.run(replay)
        except _FoundError as found:
            return f"it began {found}"
        except tg.AnomalyError as anomaly:
            return f"it began in a recorded operation: {' '.join(str(anomaly).split())}"
        except FloatingPointError as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"it began outside the tape: {error}, {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}"
        except NonFiniteError:
            continue
        finally:
            replay.watched.close()
            replay.close()
    return "it began in this step, outside the tape and outside NumPy"
