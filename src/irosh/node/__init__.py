"""The running node: admission, authorization, connections to peers, services, control socket."""
