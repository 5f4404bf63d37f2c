"""What the adversarial experiments share: digits from -1 to 1, the judge, the losses, the two nets' training."""
