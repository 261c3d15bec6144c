"""What people do with runs after training: `python -m tools.NAME`."""
