"""MNIST and Fashion-MNIST as arrays, and synthetic stand-ins for them."""
