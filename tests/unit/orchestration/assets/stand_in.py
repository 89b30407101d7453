"""What the stand-in wheel carries."""

import hashlib

CONTENT = b"a video" * 1000
MEMBER = "package/data/video.mp4"


def sha256(data):
    return hashlib.sha256(data).hexdigest()
