"""Digits completed from their centre: the patch, the training for one λ, what is measured, the report."""
