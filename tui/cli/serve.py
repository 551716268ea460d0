"""`ftconsole serve`: a model behind an address, until ctrl+c."""

from __future__ import annotations

import signal
from types import FrameType

from engine.chat.serving import plan_serving, serving
from engine.workspace import Workspace
from tui.cli import output
from tui.display import plain


def serve(workspace: str | None, text: str, *, backend: str, host: str, port: int, device: str, as_json: bool) -> int:
    """Serve a model, print where once it answers, and end with ctrl+c or SIGTERM. Returns 0 then.

    Raises:
        EngineError: It cannot be served, or the server ended by itself.
    """
    place = Workspace.find(workspace)
    plan = plan_serving(place, text, backend=backend, host=host, port=port, device=device)
    if not plan.address.is_loopback:
        output.note(f"Whoever reaches {plan.address.host_and_port} can ask it: there is no key.", style="warning")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serving(place, plan, say=lambda what: output.note(plain(what))) as server:
            if as_json:
                output.emit(
                    {
                        "address": plan.url,
                        "model": plan.name,
                        "backend": plan.backend,
                        "pid": server.process.pid,
                        "curl": plan.curl,
                    }
                )
            else:
                output.out(f"{plan.url}#{plan.name}", style="good")
                output.out(plan.curl)
                output.note(f"It answers (by {plan.backend}). Ctrl+c ends it.")
            server.wait()
    except KeyboardInterrupt:
        output.note("Ended. Nothing is left behind.")
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
