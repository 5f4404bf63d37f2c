"""Speaker verification: spectra, pairs, the Siamese net, its training, verdicts, and the report."""
