"""How busy the host is, beside the prompt: asked for while the prompt is open, where the host tells."""

from __future__ import annotations

from irosh.faces.cli.options import Settings
from irosh.faces.cli.telemetry_feed import TelemetryFeed
from irosh.faces.cli.telemetry_line import telemetry_line


class HostLoad:
    """Begins and ends with the prompt. A host that has once refused to tell is not asked again in this session."""

    def __init__(self, settings: Settings, peer_id: str) -> None:
        self._settings = settings
        self._peer_id = peer_id
        self._feed: TelemetryFeed | None = None
        self._refused = False

    def begin(self) -> None:
        """The prompt is there."""
        if not self._refused:
            self._feed = TelemetryFeed(self._settings, self._peer_id)

    @property
    def asks(self) -> bool:
        """Whether it is being asked, or has told."""
        return self._feed is not None

    def text(self, width: int) -> str:
        """What is known, in at most ``width`` columns; empty when nothing is."""
        feed = self._feed
        if feed is None:
            return ""
        if (latest := feed.latest()) is not None:
            return telemetry_line(latest, width)
        if feed.error is not None:
            self._refused = True
            self.end()
        return ""

    def end(self) -> None:
        """The prompt has gone."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
