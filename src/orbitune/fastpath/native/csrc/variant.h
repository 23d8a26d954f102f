/* Parameters of a variant, set on the compiler's command line as variants.json lists them. The same source serves
 * all of them; intrinsics stand only where vector extensions cannot say an instruction.
 *
 * LANES: fp32 numbers in a vector register: 4, 8 or 16.
 * BLOCK, VECTORS: rows (up to 6) and vectors (up to 4) of sums that a product keeps in registers.
 * BF16: elements in memory are bfloat16; otherwise fp32. Registers hold fp32 in either case.
 * PORTABLE: for tests on any processor, slowly. */
#pragma once
#include <stdint.h>

/* A product multiplies a group of GROUP elements of a column at once: the instruction VDPBF16PS takes pairs. */
#ifdef BF16
typedef uint16_t element; /* bfloat16: the upper half of a fp32 number */
typedef uint32_t group;
#define GROUP 2
#else
typedef float element;
typedef float group;
#define GROUP 1
#endif

#define STRIP (VECTORS * LANES) /* columns of a block */
#define ROUND_UP(n) (((n) + LANES - 1) / LANES * LANES)

#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline, unused))
/* Unrolled, because otherwise the sums of a block would be spilled to memory. */
#ifdef PORTABLE
#define UNROLL(i, count) for (int i = 0; i < (count); i++)
#else
#define UNROLL(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)
#endif

static inline int64_t minimum(int64_t n, int64_t limit) {
    return n < limit ? n : limit;
}
