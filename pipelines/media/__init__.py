"""Videos, images and sound: what a file holds, frames out of it, and pictures and videos written."""
