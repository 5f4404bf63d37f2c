"""The parts of `backprop_through_time`: the bound, the tasks, training on them, and the report."""
