"""An envelope or a plaintext is put into a message, which is spliced and never generated."""
