"""App: the routes."""

import asyncio
import importlib.resources
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

import hyperx
from hyperx.serve import schemas
from hyperx.serve.answers import EventStream, answered, events
from hyperx.serve.middleware import Authorised, Bounded, Measured, refused
from hyperx.serve.refusals import Refusal
from hyperx.serve.service import Service

_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'"
)
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: dict(model=schemas.Error, description=text)
    for status, text in (
        (400, "the body is no JSON"),
        (401, "no token, or another one"),
        (404, "no such state"),
        (409, "a state of another model"),
        (413, "the body is too large"),
        (422, "values that the model or its limits do not allow"),
        (429, "the queue is full"),
        (503, "starting or ending"),
        (504, "not answered in time"),
    )
}
StateId = Annotated[str, Path(pattern="^[0-9a-f]{48}$")]


def build(service: Service) -> FastAPI:
    """The application over a service."""
    settings = service.settings
    app = FastAPI(
        title="hyperx",
        version=hyperx.__version__,
        description="Read a condition once; answer any number of inputs with it.",
        middleware=[
            Middleware(Measured, metrics=service.metrics),
            Middleware(Authorised, token=settings.token),
            Middleware(Bounded, most=settings.max_body, seconds=settings.body_seconds),
        ],
    )
    _add_errors(app)
    _add_states(app, service)
    _add_tasks(app, service)
    _add_operations(app, service)
    return app


def _how(**more: Any) -> dict[str, Any]:
    # The middleware checks the token; this tells the OpenAPI page that there is one.
    bearer = Depends(HTTPBearer(auto_error=False))
    return {"responses": _ERRORS, "dependencies": [bearer], **more}


def _add_states(app: FastAPI, service: Service) -> None:
    @app.post("/v1/states", status_code=201, **_how(response_model=schemas.State))
    async def register(
        body: schemas.StateRequest, request: Request, response: Response
    ) -> schemas.State:
        """Reads a condition, unless that was done before (then the status is 200)."""
        service.check_ready()
        rows = await run_in_threadpool(service.registration, body)
        held = service.bank.held(rows[0].state_id) is not None
        (state_id,) = await answered(service.submit(rows), request, service.settings)
        response.status_code = 200 if held else 201
        return schemas.State(id=state_id, bytes=service.bank.held(state_id))

    @app.get("/v1/states/{state_id}", **_how(response_model=schemas.State))
    async def look_up(state_id: StateId) -> schemas.State:
        """Whether a state is known."""
        service.check_state(state_id)
        return schemas.State(id=state_id, bytes=service.bank.held(state_id))

    @app.delete("/v1/states/{state_id}", status_code=204, **_how())
    async def forget(state_id: StateId) -> None:
        """Forgets a state, in memory and on disk."""
        service.check_state(state_id)
        await run_in_threadpool(service.bank.delete, state_id)


def _add_tasks(app: FastAPI, service: Service) -> None:
    @app.post("/v1/generate", **_how(response_model=schemas.GenerateAnswer))
    async def generate(body: schemas.GenerateRequest, request: Request) -> Any:
        """Answers inputs; with `stream`, as server-sent events.

        Events are `tokens` (`input` and new `text`), at last `done` with the same
        answer as without `stream`, or `error`.
        """
        service.check_ready()
        if body.stream:
            return await _stream(body, request)
        rows = await run_in_threadpool(service.generation, body)
        results = await answered(service.submit(rows), request, service.settings)
        return await run_in_threadpool(service.generated, rows[0].state_id, results)

    async def _stream(body: schemas.GenerateRequest, request: Request) -> EventStream:
        loop, news = asyncio.get_running_loop(), asyncio.Queue()

        def streams(number: int, tokens: list[int]) -> None:
            loop.call_soon_threadsafe(news.put_nowait, (number, tokens))

        rows = await run_in_threadpool(service.generation, body, streams)
        job = service.submit(rows)
        told = events(service, job, rows[0].state_id, news, request)
        return EventStream(told, job)

    @app.post("/v1/score", **_how(response_model=schemas.ScoreAnswer))
    async def score(body: schemas.ScoreRequest, request: Request) -> Any:
        """Log-probabilities of given outputs."""
        service.check_ready()
        rows = await run_in_threadpool(service.scoring, body)
        results = await answered(service.submit(rows), request, service.settings)
        return service.scored(body, rows[0].state_id, results)


def _add_operations(app: FastAPI, service: Service) -> None:
    page = importlib.resources.files("hyperx.serve").joinpath("page.html").read_text()

    @app.get("/health", response_model=schemas.Health, responses={503: {}})
    async def health(response: Response) -> schemas.Health:
        """Status 200 if requests are taken, 503 if not yet or not any more."""
        response.status_code = 200 if service.ready else 503
        worker = service.worker
        return schemas.Health(
            live=service.live,
            ready=service.ready,
            draining=service.draining,
            model=service.predictor.fingerprint,
            compiled=worker.compiled,
            programs=worker.programs,
        )

    @app.get("/health/live", responses={500: {}})
    async def live() -> PlainTextResponse:
        """Status 200 unless the service has to be started anew."""
        return PlainTextResponse(
            "live" if service.live else "failed", 200 if service.live else 500
        )

    @app.get("/metrics", **_how(response_class=PlainTextResponse))
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Refusal) -> JSONResponse:
        return refused(error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return refused(Refusal(error.status_code, str(error.detail), error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        broken = any(problem["type"] == "json_invalid" for problem in problems)
        told = "; ".join(map(_told, problems[:3]))
        return refused(Refusal(400 if broken else 422, told))

    @app.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> JSONResponse:
        # The log has the rest; clients learn nothing of the inside.
        return refused(Refusal(500, "expected an answer, got an error of the service"))


def _told(problem: dict[str, Any]) -> str:
    """What a value should have been, and what it was."""
    if problem["type"] == "json_invalid":
        return f"expected JSON, got: {problem['ctx']['error']}"
    where = ".".join(map(str, problem["loc"][1:])) or "body"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    expected = problem["msg"].removeprefix("Input should be ")
    if problem["type"] == "missing":
        return f"{where}: expected a value, got none"
    if problem["type"] == "extra_forbidden":
        return f"{where!a}: expected no such name, got one"
    return f"{where}: expected {expected}, got {problem['input']!a:.80}"
