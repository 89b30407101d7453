"""Scores of a model on held-out clips: what is done with each clip, what is measured, what may be concluded."""
