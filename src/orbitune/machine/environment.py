"""Software and hardware that a measurement was made with."""

import os
from typing import Any, ClassVar

from typing_extensions import Self

from orbitune.integrity import code_hash
from orbitune.records import StoredRecord
from orbitune.resources import processor_name


class Environment(StoredRecord):
    """Software and hardware of a process, without names of machines or people.

    Attributes:
        orbitune, torch, transformers, peft, python: versions.
        platform: operating system and architecture, such as Linux-x86_64.
        processor: its model, as the system names it.
        cores: number of logical cores; None where the system does not state it.
        threads: number of threads that torch computes with.
        memory_bytes: physical memory.
        gpu: its name; None without one.
        instructions: widest vector instructions that torch uses, such as AVX2; None in files of version 0.1.
        code: hash of the sources of this package, 12 hex digits; None in files of earlier versions.
    """

    UNVERSIONED: ClassVar[int | None] = 1

    orbitune: str
    torch: str
    transformers: str
    peft: str
    python: str
    platform: str
    processor: str
    cores: int | None
    threads: int
    memory_bytes: int
    gpu: str | None
    instructions: str | None = None
    code: str | None = None

    @classmethod
    def measure(cls, **further: Any) -> Self:
        """Return the environment of this process.

        Args:
            further: the fields of a subclass.
        """
        import platform
        from importlib.metadata import version

        import torch

        return cls(
            orbitune=version("orbitune"),
            torch=torch.__version__,
            transformers=version("transformers"),
            peft=version("peft"),
            python=platform.python_version(),
            platform=f"{platform.system()}-{platform.machine()}",
            processor=processor_name(),
            cores=os.cpu_count(),
            threads=torch.get_num_threads(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            instructions=torch.backends.cpu.get_cpu_capability(),
            code=code_hash(),
            **further,
        )

    def describe(self) -> list[tuple[str, str]]:
        """Return names and values for a report; the memory in GB."""
        unknown = {name for name in ("instructions", "code") if getattr(self, name) is None}
        values = self.model_dump(exclude={"format", "memory_bytes"} | unknown)
        values["memory"] = f"{self.memory_bytes / 1e9:.1f} GB"
        return [(name, "none" if value is None else str(value)) for name, value in values.items()]
