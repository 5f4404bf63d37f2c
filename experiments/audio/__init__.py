"""Sound: transforms, features, masks, measures, streaming, and figures of spectrograms."""
