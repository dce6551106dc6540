"""Load on a server: clients that wait for each answer, or requests at a steady rate."""

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass
class Answers:
    """What came of requests.

    Attributes:
        seconds: until each was answered.
        refused: how many were not.
        elapsed: seconds from the first request to the last answer.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    refused: int = 0
    elapsed: float = 0.0


@dataclasses.dataclass(frozen=True)
class Load:
    """Requests of one input each, for any of several tasks.

    Attributes:
        url: of the server.
        states: ids of the tasks.
        letters: in an input.
        new_tokens: that are asked for.
        seed: of tasks, inputs and times.
    """

    url: str
    states: Sequence[str]
    letters: int
    new_tokens: int
    seed: int = 0

    def waiting(self, clients: int, seconds: float) -> Answers:
        """So many clients ask again as soon as they are answered."""

        async def run(ask: Callable[[], Awaitable[None]]) -> None:
            end = time.perf_counter() + seconds

            async def client() -> None:
                while time.perf_counter() < end:
                    await ask()

            await asyncio.gather(*(client() for _ in range(clients)))

        return asyncio.run(self._measured(run))

    def steady(self, rate: float, seconds: float) -> Answers:
        """Requests come at random times, whether earlier ones are answered or not.

        Args:
            rate: of them, per second.
            seconds: in which they come; it ends with the last answer.
        """
        rng = random.Random(f"{self.seed} times")

        async def run(ask: Callable[[float], Awaitable[None]]) -> None:
            tasks, due = [], time.perf_counter()
            end = due + seconds
            while (due := due + rng.expovariate(rate)) < end:
                await asyncio.sleep(due - time.perf_counter())
                tasks.append(asyncio.create_task(ask(due)))
            await asyncio.gather(*tasks)

        return asyncio.run(self._measured(run))

    async def _measured(self, run: Callable[..., Awaitable[None]]) -> Answers:
        answers, rng, begin = Answers(), random.Random(self.seed), time.perf_counter()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=self.url, timeout=120, limits=limits
        ) as client:

            async def ask(due: float | None = None) -> None:
                # From when it was due: a request that is late has waited, too.
                start = time.perf_counter() if due is None else due
                answer = await client.post("/v1/generate", json=self._body(rng))
                if answer.status_code == 200:
                    answers.seconds.append(time.perf_counter() - start)
                else:
                    answers.refused += 1

            await run(ask)
        answers.elapsed = time.perf_counter() - begin
        return answers

    def _body(self, rng: random.Random) -> dict[str, object]:
        return {
            "state": rng.choice(self.states),
            "inputs": ["".join(rng.choices(LETTERS, k=self.letters))],
            "max_new_tokens": self.new_tokens,
        }


def register(url: str, tasks: int, letters: int) -> tuple[list[str], list[float]]:
    """Has a server read conditions; their ids, and the seconds of each."""
    rng, ids, seconds = random.Random(0), [], []
    with httpx.Client(base_url=url, timeout=120) as client:
        for _ in range(tasks):
            condition = "".join(rng.choices(LETTERS, k=letters))
            start = time.perf_counter()
            answer = client.post("/v1/states", json={"condition": condition})
            answer.raise_for_status()
            ids.append(answer.json()["id"])
            seconds.append(time.perf_counter() - start)
    return ids, seconds
