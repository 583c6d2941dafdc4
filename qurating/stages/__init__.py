"""One function per file: the reading and writing around the rooms below."""
