"""Speech denoising: mini-batches of mixtures, the nets, how they learn, how they are judged, pages of the report."""
