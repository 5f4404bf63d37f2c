"""Effects on pictures of digits: made, measured, and found in what a decoder draws."""
