"""What can be had without a net: the mean log-mel spectrum of an utterance, whitened; a pair scores its cosine."""

import numpy as np
from sklearn.decomposition import PCA

from experiments.audio.features import log_mel
from experiments.audio.transform import Transform

from .pairs import all_pairs
from .scores import Calibration
from .spectra import equally_loud

BANDS = 40
KEPT = 0.99  # of the variance; whitening would blow up what is left


class Baseline:
    """Mean over the frames of the log-mel spectrum, centred and whitened by the training utterances.

    Args:
        signals: training utterances, speakers x each x samples.
        rate: samples a second.
        transform: sizes of the spectra.
    """

    def __init__(self, signals: np.ndarray, rate: int, transform: Transform) -> None:
        self._rate, self._transform = rate, transform
        speakers, each, samples = signals.shape
        features = self._features(signals.reshape(-1, samples))
        self._whitener = PCA(KEPT, whiten=True, svd_solver="full").fit(features)
        pairs = all_pairs(speakers, each)
        self._calibration = Calibration.of(self._cosines(features)[pairs.left, pairs.right], pairs.same)

    def gram(self, signals: np.ndarray) -> np.ndarray:
        """Logits of "one speaker" for every two of some utterances, U x samples to U x U."""
        return self._calibration.slope * self._cosines(self._features(signals)) + self._calibration.offset

    def _features(self, signals: np.ndarray) -> np.ndarray:
        means = [
            log_mel(signal, self._rate, transform=self._transform, bands=BANDS, floor=1e-2).mean(axis=-1)
            for signal in equally_loud(signals)
        ]
        return np.array(means, np.float64)

    def _cosines(self, features: np.ndarray) -> np.ndarray:
        white = self._whitener.transform(features)
        white /= np.linalg.norm(white, axis=1, keepdims=True)
        return np.asarray(white @ white.T)
