"""Sweeps: Optuna proposes fields of an experiment, Ray Tune runs the trials, each an ordinary training."""
