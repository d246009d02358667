"""What an attacker can do besides stamping and relabelling: one attack a file."""
