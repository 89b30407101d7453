"""MLflow: runs, provenance, reports, model packaging and the registry."""
