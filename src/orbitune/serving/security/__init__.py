"""What protects the server: limits, allowed hosts, sign-in, and restricted Gradio blocks."""
