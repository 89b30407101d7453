"""What `lia status` shows: the cluster, preparations, trainings and sweeps, as far as they can be seen from here."""
