"""`lia download`: the videos that a metadata file names, one yt-dlp attempt a Ray task, with a ledger of the dead."""
