"""Several runs compared: plan, runner and report."""
