"""Exports of a trained model to formats that run without Orbitune, each validated."""
