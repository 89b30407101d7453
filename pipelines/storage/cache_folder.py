"""Where this machine keeps what it fetched."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """LIA_CACHE, or ~/.cache/lia."""
    return Path(os.environ.get("LIA_CACHE") or "~/.cache/lia").expanduser().absolute()
