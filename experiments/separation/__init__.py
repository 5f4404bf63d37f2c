"""Source separation: excerpts of songs, the net, truncated backpropagation, what is measured, pages of the report."""
