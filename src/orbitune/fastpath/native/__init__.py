"""The compiled kernels: a C source in `csrc`, its variants, how they are built, loaded and called."""
