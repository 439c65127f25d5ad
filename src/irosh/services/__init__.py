"""What streams are for. Each service is a folder; none imports another."""
