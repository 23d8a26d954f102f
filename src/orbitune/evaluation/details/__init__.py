"""What reports and assessments say beyond the scores: intervals of classes, and the wrong tiles."""
