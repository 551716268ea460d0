"""The command palette: go to a screen or a run, or do what a key does. Loaded when it is first opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from tui.display import plain
from tui.messages import OpenRun, OpenScreen
from tui.steady import Steady


class Command(NamedTuple):
    """One entry of the palette."""

    name: str
    explanation: str
    run: Callable[[], object]


class ConsoleCommands(Provider):
    """Screens, runs, and the actions that have a key on the screen below."""

    def _commands(self) -> Iterator[Command]:
        # The application is not typed here: its module lies above this one.
        app = self.app
        for entry in getattr(app, "screen_entries", ()):
            if not entry.shows_run:
                yield Command(
                    f"Go to {entry.title}", entry.explanation, partial(app.post_message, OpenScreen(entry.name))
                )
        for run in getattr(app, "known_runs", ()):
            yield Command(f"Open run {plain(run)}", "Show it live", partial(app.post_message, OpenRun(run)))
        seen: set[str] = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            # Bindings of ours have an id; those of Textual's widgets move cursors.
            if not active.enabled or not binding.description or not binding.id or binding.action in seen:
                continue
            if binding.action == "command_palette":
                continue
            seen.add(binding.action)
            key = app.get_key_display(binding)
            yield Command(
                plain(binding.description),
                plain(f"{active.tooltip}  [key {key}]" if active.tooltip else f"[key {key}]"),
                partial(app.run_action, binding.action, active.node),
            )
        yield Command("Change the theme", "Colours of the console", app.action_change_theme)

    async def discover(self) -> Hits:
        """Offer everything while nothing is typed."""
        for command in self._commands():
            yield DiscoveryHit(Content(command.name), command.run, command.name, _literal(command.explanation))

    async def search(self, query: str) -> Hits:
        """Offer what matches `query`, best first."""
        matcher = self.matcher(query).fuzzy_search
        for command in self._commands():
            score, offsets = matcher.match(query, command.name)
            if score > 0:
                # Textual's own highlighting reads the name as markup.
                shown = Content(command.name)
                for offset in offsets:
                    shown = shown.stylize(self.match_style or "bold", offset, offset + 1)
                yield Hit(score, shown, command.run, command.name, _literal(command.explanation))


def _literal(text: str) -> str:
    """Return markup that shows `text`: the palette reads explanations as markup."""
    return Content(text).markup


class ConsolePalette(Steady, CommandPalette):
    """Textual's palette, on a screen that waits for a slow terminal."""

    DEFAULT_CSS = """
    ConsolePalette SearchIcon { display: none; }
    """

    def _action_command_list(self, action: str) -> None:
        # A list that is not laid out knows no lines: Textual's page keys fail on it with a KeyError.
        if self.query_one(CommandList).size or not action.startswith("page"):
            super()._action_command_list(action)
