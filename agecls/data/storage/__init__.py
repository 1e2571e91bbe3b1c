"""Where data comes from and results go: Backblaze B2, a web server, a folder."""
