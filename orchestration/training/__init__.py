"""Training: the loop and its step, what a run keeps on disk, and how Ray Train runs it on many workers."""
