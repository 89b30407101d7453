"""What is in a published dataset, counted and sampled for people to look at."""
