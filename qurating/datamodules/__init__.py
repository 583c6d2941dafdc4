"""What the Lightning modules are fed with."""
