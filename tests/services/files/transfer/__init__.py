"""Transfers of files."""
