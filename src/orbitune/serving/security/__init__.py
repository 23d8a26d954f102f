"""Security middleware: hosts, sign-in, limits and restricted Gradio blocks."""
