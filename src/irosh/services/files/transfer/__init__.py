"""Transfers of whole files and folders between two nodes, on a stream of their own."""
