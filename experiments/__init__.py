"""The experiments: one readable file per problem. `python -m experiments list` names them."""
