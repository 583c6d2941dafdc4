"""One file a stage: the reading and writing around the maths."""
