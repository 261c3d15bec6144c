"""What people do after training; each is run as python -m tools.NAME."""
