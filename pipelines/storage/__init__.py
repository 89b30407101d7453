"""Files, here and elsewhere: written whole or not at all, on disks, object storage and web servers, and cached."""
