"""What was run, with what, and what came of it: MLflow runs, packaged models, the registry, provenance."""

import os

# MLflow reads both when it is first imported. It would otherwise report usage to its makers from a background
# thread, and draw a progress bar for every artefact it copies. Whoever sets them keeps their own value.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
