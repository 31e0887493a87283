// SPDX-License-Identifier: Apache-2.0
#include "daemon/version.h"
#include "daemon/commands.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <omp.h>

#include "monitor/store.h"
#include "runtime/kernels.h"
#include "runtime/machine.h"

#ifndef TT_BUILD_MODE // the Makefile says it
#define TT_BUILD_MODE "another"
#define TT_BUILD_SAN  ""
#endif

#ifdef _OPENMP
#define DIGITS(macro) #macro
#define VALUE(macro)  DIGITS(macro)
#define OPENMP        VALUE(_OPENMP)
#else // clang over libgomp, as `make fuzz` does it
#define OPENMP "without pragmas"
#endif

static void print_kernels(FILE *to)
{
    const struct tt_kernels *const *all = tt_kernels_all();

    fprintf(to, "kernels       %s; this processor can run", tt_kernels()->name);
    for (int i = 0; all[i]; i++)
        fprintf(to, "%s %s", i ? "," : "", all[i]->name);
    fprintf(to, "\n");
}

void tt_version_print(FILE *to)
{
    fprintf(to, "ttad " TTAD_VERSION "\n");
    fprintf(to, "ZMTP          3, its own, mechanism NULL (without CURVE)\n");
    fprintf(to, "SQLite        %s\n", tt_store_sqlite());
    fprintf(to, "OpenBLAS      %s\n", tt_machine_blas());
    fprintf(to, "libmicrohttpd %s\n", MHD_get_version());
    print_kernels(to);
    fprintf(to, "OpenMP        %s, %d processors\n", OPENMP, omp_get_num_procs());
    fprintf(to, "compiler      %s\n",
#ifdef __clang__
            __VERSION__
#else
            "GCC " __VERSION__
#endif
    );
    fprintf(to, "build         " TT_BUILD_MODE ", sanitizers: %s\n",
            *TT_BUILD_SAN ? TT_BUILD_SAN : "none");
}
