"""The fit that all trainings share, its checkpoints and metrics."""
