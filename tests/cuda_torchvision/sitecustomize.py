"""Let a torchvision that was built for CUDA be imported beside a CPU build of torch.

For the tests of timm's models where no CPU build of torchvision can be had. timm imports torchvision, but
uses none of its operators; torchvision gives two of them shapes as it is imported, and fails where its
compiled library, which defines them, cannot be loaded. They are declared here first.
"""

import sys
from importlib.abc import MetaPathFinder

_LIBRARIES = []  # torch forgets declarations with their library


class _Declare(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torchvision._meta_registrations" and not _LIBRARIES:
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _LIBRARIES.append(library)


sys.meta_path.insert(0, _Declare())
