"""Serve models as a web app: `serve`."""

from typing import Annotated

import typer

from orbitune.cli.help import CommandSet
from orbitune.cli.options import BackboneOption, BandsOption, parse_bands_option

app = CommandSet("Trained models")


@app.command()
def serve(
    sources: Annotated[
        list[str], typer.Argument(help="Bundles, finished runs, hub ids of bundles, or exported files")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on")] = 7860,
    login: Annotated[
        str | None,
        typer.Option(help="USER:PASSWORD that visitors must enter", envvar="ORBITUNE_LOGIN"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Further allowed Host header, such as that of a proxy; repeatable"),
    ] = None,
    root_path: Annotated[str, typer.Option(help="URL path of the app behind a proxy, such as /tiles")] = "",
    engine: Annotated[
        str,
        typer.Option(help="What computes the models: torch, or onnx for exported files and folders with one"),
    ] = "torch",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that compute, each with a copy of the models")
    ] = 1,
    executor: Annotated[
        str, typer.Option(help="Where they run: local, or ray for the cluster of RAY_ADDRESS")
    ] = "local",
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log requests and warnings as JSON lines on stderr")
    ] = False,
    bands: BandsOption = None,
    backbone: BackboneOption = None,
) -> None:
    """Serve models as a web app with a JSON API, until interrupted."""
    from orbitune.serving.api.request_log import log_requests_as_json
    from orbitune.serving.app import parse_login
    from orbitune.serving.engines.onnx_engine import exported_graph
    from orbitune.serving.security.allowed_hosts import AllowedHosts, parse_root_path
    from orbitune.serving.server import listening, serve
    from orbitune.serving.service import PredictionService, name_models

    account, path = parse_login(login), parse_root_path(root_path)
    hosts = AllowedHosts.for_address(host, tuple(allow_host or ()))
    chosen = parse_bands_option(bands)

    def print_address(where: str) -> None:
        names = ", ".join(service.models)
        user_option = "-u USER:PASSWORD " if login else ""
        print(
            f"{names} at {where}; JSON: curl {user_option}-F file=@tile.png {where}/api/predict, "
            f"described at {where}/api/docs",
            flush=True,
        )
        for source in sources if engine == "torch" else ():
            if graph := exported_graph(source):
                print(f"{graph} is an export of it: --engine onnx serves that file", flush=True)

    with listening(host, port) as sockets:
        service = PredictionService(
            name_models(sources), backbone, bands=chosen, engine=engine, workers=workers, executor=executor
        )
        if log_json:
            log_requests_as_json()
        serve(
            service,
            sockets,
            host=host,
            login=account,
            hosts=hosts,
            root_path=path,
            on_ready=print_address,
        )
