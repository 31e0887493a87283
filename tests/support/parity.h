// SPDX-License-Identifier: Apache-2.0
#ifndef TT_TESTS_SUPPORT_PARITY_H
#define TT_TESTS_SUPPORT_PARITY_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/*
 * One parity case: NAME.json says the method, the images and the float32 errors of the code that
 * made it; NAME.safetensors what that code computed in float64.  A case is run through a policy
 * and the step that the daemon runs, and judged by its worst error over its bound, which is
 * PARITY_MARGIN times the float32 error that the JSON states.
 */
#define PARITY_MARGIN 5.0

enum parity { PARITY_HOLDS, PARITY_MISSES, PARITY_SKIPPED };

struct parity_result {
    enum parity verdict;
    double logits, params, stats; // worst error over its bound; 0 where there is nothing to judge
    double argmax;                // share of rows with the same label
    char why[256];                // skipped: the engine that does not exist
};

/* json: the case's file.  images: folder of the corruptions' .npy, or NULL: the case's own.
 * models: folder of the models, or NULL: where the case says, from the project's root. */
TT_MUST_CHECK enum tt_code parity_run(const char *json, const char *images, const char *models,
                                      struct parity_result *ret, struct tt_err *err);

/* One line: name, verdict, errors over bounds. */
void parity_print(FILE *to, const char *name, const struct parity_result *r);

/* Every case of a folder, in order of name.  Returns how many missed or could not be run;
 * *ret_held counts those that hold. */
int parity_folder(FILE *to, const char *dir, const char *images, const char *models, int *ret_held);

#endif
