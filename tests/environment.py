"""Environment of the tests, the same in every shell and CI service."""

from collections.abc import MutableMapping

# CC, ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY are kept too: they select the compiler and the processor.
KEPT = ("ORBITUNE_SHARED",)
DROPPED_PREFIXES = (
    "ACCELERATE_",
    "CLICOLOR",
    "CPL_",
    "GDAL_",
    "GRADIO_",
    "HF_",
    "HUGGINGFACE_",
    "HUGGING_FACE_",
    "ORBITUNE_",
    "PROJ_",
    "RAY_",
    "TORCHELASTIC_",
    "TRANSFORMERS_",
    "TTY_",
    "TYPER_",
    "UVICORN_",
    "_TYPER_",
)
DROPPED = (
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS"),  # read by rich, typer and pytest
    *("LANG", "LANGUAGE", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS", "SOURCE_DATE_EPOCH"),
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
)
SET = {
    "LC_ALL": "C.UTF-8",
    "NO_PROXY": "127.0.0.1,localhost,::1",  # servers of the tests
    "no_proxy": "127.0.0.1,localhost,::1",
    # Tests run in parallel processes, where waiting threads would make tiny models slow.
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # by default its workers run at low priority
    "TERM": "xterm",
    "TZ": "UTC",
}


def seal(environment: MutableMapping[str, str]) -> None:
    """Drop and set variables in place.

    Call it before libraries are imported, which read some only then.
    """
    for name in list(environment):
        if name in DROPPED or (name.startswith(DROPPED_PREFIXES) and name not in KEPT):
            del environment[name]
    environment.update(SET)
