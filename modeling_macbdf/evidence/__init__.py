"""What a person can look at beside a verdict: heat maps, spectrogram, timeline, provenance, and the HTML report."""
