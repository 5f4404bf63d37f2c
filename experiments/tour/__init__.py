"""The stops of the tour of convolution: each measures something about it and shows it."""
