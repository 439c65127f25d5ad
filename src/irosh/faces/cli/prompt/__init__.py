"""``irosh> ``, the command line that ``~C`` opens in a session."""
