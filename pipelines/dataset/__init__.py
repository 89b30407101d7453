"""A published dataset read: its files wherever they lie, its clips, pairs of frames to train on, folders of frames."""
