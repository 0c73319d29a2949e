"""Own the one list of what is wrong, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Problems(list[str]):
    """Collect what is wrong, to say it all at once."""

    def expect(self, fine: bool, problem: str) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self.append(problem)

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Return the call's result, or None with its ValueError noted."""
        try:
            return call()
        except ValueError as error:
            self.append(str(error))
            return None

    def done(self) -> None:
        """Raise ValueError if there is any problem."""
        if len(self) == 1:
            raise ValueError(self[0])
        if self:
            lines = "".join(f"\n  - {problem}" for problem in self)
            raise ValueError(f"{len(self)} problems with the configuration:{lines}")
