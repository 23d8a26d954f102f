"""Engines that compute predictions, and the queue that batches requests for them."""
