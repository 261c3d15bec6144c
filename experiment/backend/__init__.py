"""Where a network trains: device and precision, several devices, several machines."""
