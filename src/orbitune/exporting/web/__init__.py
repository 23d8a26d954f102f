"""Export to a web page that classifies without a server."""
