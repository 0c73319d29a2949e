"""Own the server of the page, from a checked plan until a signal ends it."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import threading
import warnings
import webbrowser
from dataclasses import replace
from types import FrameType
from typing import Any

from pairedit.machine.collector import collector_at_rest
from pairedit.plan.studio import StudioPlan
from pairedit.runs.lock import locked
from pairedit.runs.stopping import Stopped
from pairedit.studio.guard import LARGEST, Guard
from pairedit.studio.shelf import OWN
from pairedit.studio.studio import Studio

log = logging.getLogger(__name__)

LETTERS = 12  # bytes of a password that is made up


def run_studio(plan: StudioPlan) -> None:
    """Serve the page until a signal comes; a training that runs saves and stops then.

    Raises:
        ValueError: the port is taken, or another studio works on the same folder.
    """
    if not plan.alone and plan.password is None:
        plan = replace(plan, password=secrets.token_urlsafe(LETTERS))
        log.info("password: %s (any user name)", plan.password)
    listener = _listen(plan)
    with locked(plan.folder / OWN):
        studio = Studio(plan)
        try:
            # The worker imports torch on one core, Gradio is imported on the other.
            studio.start_anew()
            studio.desk.start()
            threading.Thread(target=studio.prepare, name="first row", daemon=True).start()
            _serve(studio, listener)
        finally:
            studio.desk.close()
            listener.close()


def make_app(studio: Studio) -> Any:
    """Return the page behind its guard, as an ASGI application."""
    plan = studio.plan
    os.environ["GRADIO_TEMP_DIR"] = str(studio.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with collector_at_rest(), warnings.catch_warnings():
        # Those of Gradio's own dependencies are none of the user's business.
        warnings.simplefilter("ignore")
        import gradio as gr
        from fastapi import FastAPI

        from pairedit.studio.page import build, look

        app = gr.mount_gradio_app(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
            build(studio),
            path="/",
            server_name=plan.host,
            server_port=plan.port,
            footer_links=[],
            run_history=False,
            allowed_paths=[str(plan.folder)],
            max_file_size=LARGEST,
            show_error=True,
            ssr_mode=False,
            mcp_server=False,
            **look(),
        )
    return Guard(app, folder=plan.folder, host=plan.host, password=plan.password)


def _listen(plan: StudioPlan) -> socket.socket:
    """Take the port, before anything slow begins."""
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((plan.host, plan.port))
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        if error.errno == errno.EADDRINUSE:
            reason += "; choose another one with port=, or stop what serves there"
        raise ValueError(f"host={plan.host} port={plan.port}: {reason}") from error
    return listener


def _serve(studio: Studio, listener: socket.socket) -> None:
    """Serve in this thread.

    Raises:
        Stopped: a signal came.
    """
    plan = studio.plan
    app = make_app(studio)
    import uvicorn

    ended: list[int] = []

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            ended.append(sig)
            super().handle_exit(sig, frame)

    name = f"[{plan.host}]" if ":" in plan.host else plan.host
    address = f"http://{'127.0.0.1' if plan.host == '0.0.0.0' else name}:{plan.port}"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, server_header=False
    )
    log.info("open %s in a browser; Ctrl-C ends", address)
    if plan.browser:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    Server(config).run(sockets=[listener])
    # It heeds signals that its caller ignores as well, as a script does for its jobs in the
    # background, and raises them again at its end: nobody hears that.
    if ended:
        raise Stopped(ended[-1])
