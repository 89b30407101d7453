"""Joins the other packages: recipes, training under Ray Train, evaluation, the pipeline and the command line."""
