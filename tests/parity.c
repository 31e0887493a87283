// SPDX-License-Identifier: Apache-2.0
/* make parity DIR=... IMAGES=...: every case of a folder whose engine exists. */
#include <stdio.h>

#include "tests/support/parity.h"

int main(int argc, char **argv)
{
    char models[1024];
    int held, bad;

    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: parity CASES [IMAGES [MODELS]]\n"
                        "  MODELS is CASES/../../models where it is not given\n");
        return 2;
    }
    snprintf(models, sizeof models, "%s/../../models", argv[1]);
    bad = parity_folder(stdout, argv[1], argc > 2 ? argv[2] : NULL,
                        argc > 3   ? argv[3]
                        : argc > 2 ? models
                                   : NULL,
                        &held);
    printf("%d passed, %d failed\n", held, bad);
    return bad || !held;
}
