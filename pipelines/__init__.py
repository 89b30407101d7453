"""From raw video to training pairs: clip tables, cropping into WebDataset shards, random-access reading."""
