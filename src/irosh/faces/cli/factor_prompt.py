"""Second factors at the command: asks the person, or has a security key sign, when a host wants them."""

from __future__ import annotations

from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.output import Output
from irosh.faces.cli.table import printable


class FactorPrompt:
    """Answers the node's events ``factor`` and ``factor-refused``; see ``ControlClient.answers``."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """``IroshError`` (factor-required) when there is nobody to ask."""
        if message["event"] == "factor-refused":
            error = IroshError.from_dict(message["error"])
            self._output.event("factor-refused", {"error": error.to_dict()}, f"irosh: {printable(error.message)}")
            return None
        host, factor = printable(str(message["host"])), str(message["factor"])
        if factor == "security-key":
            import base64

            from irosh.faces.cli.security_key import sign_with_security_key

            signed = base64.b64decode(str(message["message"]))
            return sign_with_security_key(host, [str(key) for key in message["keys"]], signed, self._output)
        from irosh.faces.cli.askpass import ask_secret

        prompts = {"password": f"Password for {host}: ", "totp": f"Code for {host}: "}
        if factor not in prompts:
            raise IroshError(ErrorCode.PROTOCOL, f"the node asks for {printable(factor)!r}", "restart it")
        # A program that reads JSON sits at no terminal, even if it was started on one.
        return {"text": ask_secret(prompts[factor], terminal=not self._output.as_json)}
