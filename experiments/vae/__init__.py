"""The variational auto-encoder of `vae_sevens`, and its training."""
