"""The cells of a sweep: what each says about itself, how far it is, and SLURM jobs that run them."""
