"""End-to-end tests: real ``irosh`` processes, each side with its own state directory."""
