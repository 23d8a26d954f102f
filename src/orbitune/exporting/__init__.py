"""Export of a trained model to formats that run without Orbitune."""
