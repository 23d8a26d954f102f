"""What a step minimises: gradients of the loss, and the balance of unequal classes."""
