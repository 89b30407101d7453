"""One clip out of a raw video: ffmpeg, what it made checked, and decoders kept in processes apart."""
