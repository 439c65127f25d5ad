"""The documents are tested: what they show is run, what they name exists, and nothing is left out.

Every ```` ```console ```` and ```` ```sh ```` block of ``README.md`` and ``docs/*.md`` is run, block after block, on
loopback, with a home and a state directory for each machine that the page names:

- ``server$ irosh host`` runs on the machine ``server``. Each machine has an identity that never changes, so the
  endpoint ids on the pages are real, and calls itself by its name.
- Lines behind ``> `` continue a command that ends in ``\\``.
- A command must succeed, unless ``echo $?`` follows it.
- The other lines are the command's output, errors included. They must be all of it; ``...`` stands for anything, on a
  line of its own for any number of lines. A command without any shown is not held to its output.
- What runs until it is interrupted (``irosh host``, ``irosh tunnel open``, ``irosh relay serve``, ``python3 -m
  http.server``) stays in the background once it has printed what is shown, until the page shows ``^C`` or ends; what is
  shown behind ``^C`` it must print then.
- Commands with ``--mode custom`` or ``iroh-manual`` that name no file exchange their offers and answers as if somebody
  pasted what one shows where the other asks for it. The pasted text is part of the output, as on a terminal.
- ``/mnt/shared`` is a directory that all machines see.
- ``TICKET`` is the ticket printed last. ``relay.example.org`` and ``0.0.0.0``
  are 127.0.0.1, and ports are replaced by free ones.
- A ``sh`` block is one script, run on ``laptop``.
- ``<!-- after: PAGE.md -->`` at the top of a page: what PAGE shows is done first.

Blocks of other kinds (``text``, ``toml``, ``ini``) are not run; ``toml`` must be a valid ``config.toml``.
"""
