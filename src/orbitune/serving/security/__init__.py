"""Security middleware: allowed hosts, sign-in, limits, and restricted Gradio blocks."""
