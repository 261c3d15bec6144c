"""What people do after training: python -m tools.NAME."""
