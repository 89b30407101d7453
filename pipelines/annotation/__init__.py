"""Annotation of the user's own videos: who is seen where, and the clips to cut from that."""
