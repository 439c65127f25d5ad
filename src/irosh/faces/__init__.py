"""What people and agents touch. No protocol code."""
