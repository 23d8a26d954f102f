"""Options of the commands that read a scene: `map` and `adapt`."""

from typing import Annotated

import typer

_PANEL = "Scene"

SceneBands = Annotated[
    str,
    typer.Option(
        "--bands",
        help="Names or numbers of the bands that the model reads, in its order, such as B04,B03,B02 or "
        "3,2,1 for red, green and blue [default: from the file]",
        rich_help_panel=_PANEL,
    ),
]
SceneScale = Annotated[
    str,
    typer.Option(
        "--scale",
        help="match: reflectance by the encoding of the scene, with the tiles' atmosphere; none: "
        "by the encoding alone; else the values mapped to 0:255, such as 0:2750 or 2%:98%, or to 0:10000 "
        "for a model of 16-bit tiles",
        rich_help_panel=_PANEL,
    ),
]
SceneResolution = Annotated[
    float,
    typer.Option("--resolution", help="Metres per pixel of the training tiles", rich_help_panel=_PANEL),
]
