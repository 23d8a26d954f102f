/* Memory of a kernel's call: reserved before its threads start, and released together. */
#pragma once
#include <stdint.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#else
#define omp_get_max_threads() 1
#define omp_get_thread_num() 0
#endif

#define LINE 64 /* bytes of a cache line */
enum { DONE, OUT_OF_MEMORY }; /* what kernels return */

typedef struct Reserved {
    struct Reserved *next;
} Reserved;

typedef struct {
    Reserved *first;
    int failed; /* whether any of it could not be had */
} Memory;

/* Return `bytes` from the start of a cache line on; NULL, and `failed`, if they cannot be had. */
static inline void *reserve(Memory *m, int64_t bytes) {
    void *all;
    if (m->failed || posix_memalign(&all, LINE, LINE + bytes)) {
        m->failed = 1;
        return NULL;
    }
    *(Reserved *)all = (Reserved){m->first};
    m->first = all;
    return (char *)all + LINE;
}

/* Release everything and return what the kernel returns. */
static inline int release(Memory *m) {
    for (Reserved *each = m->first, *next; each; each = next) {
        next = each->next;
        free(each);
    }
    return m->failed ? OUT_OF_MEMORY : DONE;
}
