"""GET /metrics for Prometheus."""

from fastapi import APIRouter, Response

from service.api.dependencies import State
from service.metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(state: State) -> Response:
    """Counters and durations in the Prometheus text format."""
    return Response(state.exposition(), headers={"Content-Type": CONTENT_TYPE})
