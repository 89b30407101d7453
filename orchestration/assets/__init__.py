"""Files that demo, perceptual loss, detectors and metrics need: which they are, where they lie, how they get there."""
