"""The web app and its JSON endpoint."""
