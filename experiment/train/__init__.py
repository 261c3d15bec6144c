"""Training: batches, schedule, recorder, and the loop in Keras."""
