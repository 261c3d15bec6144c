"""What happens around a training: options, devices, training, run folders, reports."""
