"""What routes receive from the app they belong to."""

from typing import Annotated

from fastapi import Depends, Request

from service.state import ServiceState


async def _state_of(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(_state_of)]
