"""What a task is: targets, loss, scores, calibration and decision, for one label a tile or several."""
