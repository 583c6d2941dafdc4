"""Folders on disk: what identifies them, how they are published, and the table of the stages that make them."""
