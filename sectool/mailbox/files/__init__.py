"""What stores have in common that keep each message in a file of its own."""
