"""The parts of `keyword_spotting`: the making of batches, the net, training, the report, and the command."""
