"""Which clips there are: the clip table, the metadata formats it is read from, and arithmetic of frames and boxes."""
