"""What `svd_compression` is made of: nets in training, their compressed forms, and the watch over the subspaces."""
