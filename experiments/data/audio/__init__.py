"""Sound: course layouts and public corpora in, arrays of samples out; without data, synthetic speech, noise, music."""
