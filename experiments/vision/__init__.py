"""What the experiments on pictures share."""
