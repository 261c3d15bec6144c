"""Networks that several scripts build, and the dense network from scratch."""
