"""What `self_supervised` consists of beside its own file."""
