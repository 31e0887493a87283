// SPDX-License-Identifier: Apache-2.0
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "engines/plan.h"

static bool any(const struct tt_strs *globs, const char *name)
{
    for (int i = 0; i < globs->n; i++)
        if (!fnmatch(globs->s[i], name, 0))
            return true;
    return false;
}

/* By its name, or by the path of the node that uses it, as exporters rename weights. */
static bool named(const struct tt_strs *globs, const struct tt_model *m, const struct tt_param *p)
{
    return any(globs, p->name) || any(globs, tt_param_place(m, p));
}

static bool matches(const struct tt_select *s, const struct tt_model *m, const struct tt_param *p)
{
    if (tt_member_is_stat(p->member))
        return false;
    if (s->kinds && !(s->kinds & 1u << p->kind))
        return false;
    if (s->members && !(s->members & 1u << p->member))
        return false;
    if (s->include.n && !named(&s->include, m, p))
        return false;
    return !named(&s->exclude, m, p);
}

/* How to export a model so that BatchNormalization stays, for who wrote the file. */
static const char *advice(const struct tt_model *m)
{
    static const struct {
        const char *producer, *how;
    } tools[] = {
        {"pytorch", ", in PyTorch with model.eval() and torch.onnx.export(..., "
                    "training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)"},
        {"tf2onnx", ", from Keras with export_with_batchnorm of docs/exporters.md"},
    };

    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
        if (!strncmp(m->producer, tools[i].producer, strlen(tools[i].producer)))
            return tools[i].how;
    return ", with constants and normalisations not folded";
}

/* Why nothing matches, as far as the model tells. */
static enum tt_code nothing(const struct tt_model *m, const struct tt_select *s, const char *file,
                            struct tt_err *err)
{
    const char *at = file ? file : "policy", *sep = "";
    bool wanted = s->kinds & 1u << TT_KIND_BN, has = false, folds = false;
    char kinds[128] = "";

    for (int i = 0; i < m->nparams; i++) {
        has = has || m->params[i].kind == TT_KIND_BN;
        folds = folds || m->params[i].kind == TT_KIND_CONV;
    }
    if (wanted && !has && folds)
        return tt_fail(err, TT_ENOTFOUND,
                       "%s:%d:%d: select: no parameter matches: the model has convolutions and no "
                       "BatchNormalization: if it had one, the exporter folded it into their "
                       "weights; export it again so that it stays%s",
                       at, s->line, s->col, advice(m));
    for (int k = 0; k < TT_NKINDS; k++)
        if (s->kinds & 1u << k) {
            size_t n = strlen(kinds);

            snprintf(kinds + n, sizeof kinds - n, "%s%s", sep, tt_kind_name((enum tt_kind)k));
            sep = ", ";
        }
    return tt_fail(err, TT_ENOTFOUND,
                   "%s:%d:%d: select: no parameter matches kinds [%s]%s%s; ttad inspect lists the "
                   "parameters",
                   at, s->line, s->col, kinds, s->include.n ? " and include " : "",
                   s->include.n ? s->include.s[0] : "");
}

enum tt_code tt_select_params(const struct tt_model *m, const struct tt_select *s, const char *file,
                              struct tt_arena *arena, int **ret, int *ret_n, struct tt_err *err)
{
    int *list = TT_NEW(arena, m->nparams + 1, int), n = 0;

    if (!list)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    if (s->kinds || s->include.n) {
        for (int i = 0; i < m->nparams; i++)
            if (matches(s, m, &m->params[i]))
                list[n++] = i;
        if (!n)
            return nothing(m, s, file, err);
    }
    *ret = list;
    *ret_n = n;
    return TT_OK;
}
