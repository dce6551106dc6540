"""LRU: what was used last, within a budget of bytes."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Lru(Generic[Value]):
    """Values by key, those used longest ago first. Not safe for threads by itself.

    Attributes:
        budget: most bytes of all values; None for no limit.
        nbytes: of all values.
    """

    def __init__(self, budget: int | None) -> None:
        self.budget = budget
        self.nbytes = 0
        self._values: OrderedDict[str, tuple[Value, int]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def size(self, key: str) -> int | None:
        """Bytes of the value of a key; None without one."""
        return self._values[key][1] if key in self._values else None

    def get(self, key: str) -> Value | None:
        """The value of a key, which is the newest from now on; None without one."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: str, value: Value, nbytes: int) -> list[Value]:
        """Takes a value in; returns those that had to leave, its predecessor first.

        Raises:
            ValueError: if it alone exceeds the budget.
        """
        self.check(nbytes)
        left = [self.pop(key)] if key in self else []
        self._values[key] = value, nbytes
        self.nbytes += nbytes
        while self.budget is not None and self.nbytes > self.budget:
            left.append(self.pop(next(iter(self._values))))
        return left

    def check(self, nbytes: int) -> None:
        """Raises ValueError for a value that alone exceeds the budget."""
        if self.budget is not None and nbytes > self.budget:
            raise ValueError(
                f"expected a state within a budget of {self.budget} bytes, got one of "
                f"{nbytes}"
            )

    def pop(self, key: str) -> Value | None:
        """Takes a value out; None if there was none."""
        value, nbytes = self._values.pop(key, (None, 0))
        self.nbytes -= nbytes
        return value
