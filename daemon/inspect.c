// SPDX-License-Identifier: Apache-2.0
#include "daemon/inspect.h"

#include <string.h>

#include "engines/plan.h"

#define COLUMNS 100
#define NUMBER  32   // bytes of a number with its commas
#define DIM     64   // bytes of a dimension
#define NAME    24   // columns for the name of an input or output
#define NOTE    1280 // bytes of a note, with two names

/* ---- looking --------------------------------------------------------------------- */

/* A version's size does not depend on the batch that its plan is made for. */
static enum tt_code measure(struct tt_inspection *t, struct tt_err *err)
{
    const struct tt_value *x = &t->model->graph.values[0];
    int64_t rows = x->kind == TT_INPUT && x->ndim && x->dim[0] > 0 ? x->dim[0] : 1;
    struct tt_plan *plan;

    if (tt_plan_new(t->model, &t->policy->method, rows, &plan, err))
        return err->code;
    t->floats = tt_plan_floats(plan);
    tt_plan_free(plan);
    return TT_OK;
}

enum tt_code tt_inspect(const char *path, const struct tt_model *model,
                        const struct tt_policy *policy, struct tt_arena *arena,
                        struct tt_inspection *ret, struct tt_err *err)
{
    struct tt_inspection t = {.path = path, .model = model, .policy = policy};
    struct tt_probe *probes;
    int *list;

    if (tt_probe_graph(&model->graph, arena, &probes, err))
        return tt_fail_in(err, "%s", path);
    t.probes = probes;
    if (policy) {
        t.selected = TT_NEW(arena, model->nparams, bool);
        if (!t.selected)
            return tt_fail(err, TT_ENOMEM, "out of memory");
        if (tt_select_params(model, &policy->method.select, policy->file, arena, &list,
                             &t.nselected, err) ||
            measure(&t, err))
            return err->code;
        for (int i = 0; i < t.nselected; i++) {
            t.selected[list[i]] = true;
            t.scalars += model->params[list[i]].n;
        }
    }
    *ret = t;
    return TT_OK;
}

/* An operator of the model and how many nodes apply it, most first. */
struct use {
    const struct tt_op *op;
    int n;
};

#define MAXUSES 64 // operators; a model that uses more shows these

static int count_uses(const struct tt_graph *g, struct use uses[MAXUSES])
{
    int n = 0;

    for (int i = 0; i < g->nnodes; i++) {
        int k = 0;

        while (k < n && uses[k].op != g->nodes[i].op)
            k++;
        if (k == MAXUSES)
            continue;
        if (k == n)
            uses[n++] = (struct use){.op = g->nodes[i].op};
        uses[k].n++;
        for (; k > 0 && uses[k - 1].n < uses[k].n; k--) {
            struct use lower = uses[k - 1];

            uses[k - 1] = uses[k];
            uses[k] = lower;
        }
    }
    return n;
}

/* A dimension as "3", "batch", "3*batch", "3*batch+1". */
static void dim_text(const struct tt_probe *p, int i, char to[DIM])
{
    struct tt_affine d;
    int n = 0;

    if (!tt_probe_affine(p, i, &d)) {
        snprintf(to, DIM, "?");
        return;
    }
    if (d.b)
        n = d.b == 1 ? snprintf(to, DIM, "batch") : snprintf(to, DIM, "%lld*batch", (long long)d.b);
    if (d.a || !d.b)
        snprintf(to + n, DIM - (size_t)n, d.b ? "%+lld" : "%lld", (long long)d.a);
}

static int64_t total(const struct tt_model *m)
{
    int64_t n = 0;

    for (int i = 0; i < m->nparams; i++)
        n += m->params[i].n;
    return n;
}

/* ---- for people -------------------------------------------------------------------- */

/* 1234567 as "1,234,567". */
static const char *number(int64_t n, char to[NUMBER])
{
    char digits[NUMBER];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), k = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            to[k++] = ',';
        to[k++] = digits[i];
    }
    to[k] = '\0';
    return to;
}

/* "  label     ", or as much space behind the first line. */
static void label(FILE *to, const char *text)
{
    fprintf(to, "  %-10s", text);
}

/* The end of a name tells more than its beginning. */
static const char *cut(const char *name, int room, const char **ret_dots)
{
    size_t len = strlen(name), skip = len > (size_t)room ? len - (size_t)room + 3 : 0;

    while (skip && skip < len && ((unsigned char)name[skip] & 0xc0) == 0x80)
        skip++;
    *ret_dots = skip ? "..." : "";
    return name + skip;
}

static void print_value(const struct tt_inspection *t, FILE *to, const char *what, int value)
{
    const struct tt_probe *p = &t->probes[value];
    const char *dots, *name = cut(t->model->graph.values[value].name, NAME, &dots);

    label(to, what);
    fprintf(to, "%s%-*s  [", dots, NAME - (int)strlen(dots), name);
    for (int k = 0; k < p->ndim; k++) {
        char dim[DIM];

        dim_text(p, k, dim);
        fprintf(to, "%s%s", k ? ", " : "", dim);
    }
    fprintf(to, "]\n");
}

static void print_values(const struct tt_inspection *t, FILE *to)
{
    const struct tt_graph *g = &t->model->graph;
    const char *what = "inputs";

    for (int i = 0; i < g->nvalues; i++)
        if (g->values[i].kind == TT_INPUT) {
            print_value(t, to, what, i);
            what = "";
        }
    for (int i = 0; i < g->noutputs; i++)
        print_value(t, to, i ? "" : "outputs", g->outputs[i]);
}

static void print_operators(const struct tt_inspection *t, FILE *to)
{
    struct use uses[MAXUSES];
    int n = count_uses(&t->model->graph, uses), column;

    label(to, "operators");
    column = 12 + fprintf(to, "%d nodes:", t->model->graph.nnodes);
    for (int i = 0; i < n; i++) {
        char text[128];
        int len = snprintf(text, sizeof text, " %d %s%s", uses[i].n, uses[i].op->name,
                           i + 1 < n ? "," : "");

        if (column + len > COLUMNS) {
            fprintf(to, "\n%11s", "");
            column = 11;
        }
        column += fprintf(to, "%s", text);
    }
    fprintf(to, "\n");
}

/* What the exporter did to parameters, as sentences; "" when it is nothing.  i: of the model. */
static const char *note(const struct tt_model *m, int i, char to[NOTE])
{
    const struct tt_param *p = &m->params[i];

    *to = '\0';
    if (p->norms > 1)
        snprintf(to, NOTE, "'%s' feeds %d normalisations: adapting it adapts all of them", p->name,
                 p->norms);
    else if (p->unmerged)
        snprintf(to, NOTE,
                 "'%s' was merged with others of its value by the exporter: here it is a "
                 "parameter of its own",
                 p->name);
    else if (p->twin >= 0 && p->kind == TT_KIND_EMBEDDING)
        snprintf(to, NOTE,
                 "'%s' and '%s' hold the same values: the exporter untied them, and adapting one "
                 "leaves the other",
                 p->name, m->params[p->twin].name);
    return to;
}

/* Wrapped at spaces; a name that is wider than a line stays whole. */
static void print_note(const char *text, FILE *to)
{
    size_t room = COLUMNS - 12;

    for (const char *what = "note"; *text; what = "") {
        size_t n = strlen(text), cut_at = n;

        if (n > room)
            for (cut_at = room; cut_at && text[cut_at] != ' '; cut_at--)
                ;
        cut_at = cut_at ? cut_at : strcspn(text, " ");
        label(to, what);
        fprintf(to, "%.*s\n", (int)cut_at, text);
        text += cut_at + (text[cut_at] == ' ');
    }
}

/* What is not answered that the file's outputs have. */
static void print_outputs_note(const struct tt_model *m, FILE *to)
{
    char text[NOTE];
    size_t n = 0;

    if (m->probabilities) {
        snprintf(text, sizeof text,
                 "what is answered and adapted are the logits of which output '%s' is the "
                 "probabilities",
                 m->probabilities);
        print_note(text, to);
    }
    for (int i = 0; i < m->nleft && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s'%s'",
                              i ? ", " : "not computed: ", m->left_out[i]);
    if (m->nleft)
        print_note(text, to);
}

/* Merged parameters of one model are often many: the first, and how many more. */
static void print_notes(const struct tt_inspection *t, FILE *to)
{
    const struct tt_model *m = t->model;
    int unmerged = 0, told = 0;
    char text[NOTE];

    for (int i = 0; i < m->nparams; i++)
        unmerged += m->params[i].unmerged && m->params[i].norms <= 1;
    for (int i = 0; i < m->nparams; i++) {
        bool is_one = m->params[i].unmerged && m->params[i].norms <= 1;
        size_t n = strlen(note(m, i, text));

        if (!n || (is_one && told++))
            continue;
        if (is_one && unmerged > 1)
            snprintf(text + n, sizeof text - n, "; and so are %d more", unmerged - 1);
        print_note(text, to);
    }
}

static void print_policy(const struct tt_inspection *t, FILE *to)
{
    char a[NUMBER], b[NUMBER];
    int64_t all = total(t->model);

    if (!t->policy)
        return;
    label(to, "policy");
    fprintf(to, "%s, engine %s, %.16s\n", t->policy->name, t->policy->method.preset,
            t->policy->hash);
    label(to, "selected");
    fprintf(to, "%d of %d parameters, %s of %s scalars (%.2f %%)%s\n", t->nselected,
            t->model->nparams, number(t->scalars, a), number(all, b),
            all ? 100.0 * (double)t->scalars / (double)all : 0.0,
            t->nselected ? ", marked * below" : "");
    label(to, "a stream");
    fprintf(to, "%s bytes a version: %s floats of parameters, optimizer and statistics\n",
            number(4 * t->floats, a), number(t->floats, b));
}

/* The kinds and members that there are, with what they hold. */
static void print_totals(const struct tt_inspection *t, FILE *to)
{
    const struct tt_model *m = t->model;
    char a[NUMBER], b[NUMBER];

    fprintf(to, "\n  %-9s %-8s %10s %14s %16s\n", "kind", "member", "parameters", "scalars",
            "bytes");
    for (int kind = 0; kind < TT_NKINDS; kind++)
        for (int member = 0; member <= TT_MEMBER_OTHER; member++) {
            int64_t n = 0;
            int params = 0;

            for (int i = 0; i < m->nparams; i++)
                if ((int)m->params[i].kind == kind && (int)m->params[i].member == member) {
                    params++;
                    n += m->params[i].n;
                }
            if (params)
                fprintf(to, "  %-9s %-8s %10d %14s %16s\n", tt_kind_name((enum tt_kind)kind),
                        tt_member_name((enum tt_member)member), params, number(n, a),
                        number(4 * n, b));
        }
    fprintf(to, "  %-9s %-8s %10d %14s %16s\n", "all", "", m->nparams, number(total(m), a),
            number(4 * total(m), b));
}

static void shape_text(const struct tt_inspection *t, const struct tt_param *p,
                       char to[TT_SHAPE_TEXT])
{
    const struct tt_value *v = &t->model->graph.values[p->value];

    tt_shape_text(v->dim, v->ndim, to, TT_SHAPE_TEXT);
}

/* Its place in the graph: the node that takes it first, and as what. */
static void print_place(const struct tt_model *m, const struct tt_param *p, FILE *to)
{
    const char *dots, *place, *op;

    if (p->node < 0)
        return;
    op = m->graph.nodes[p->node].op->name;
    place = cut(tt_param_place(m, p), COLUMNS - 35 - (int)strlen(op), &dots);
    fprintf(to, "%21s%s operand %d of %s%s\n", "", op, p->operand, dots, place);
}

static void print_params(const struct tt_inspection *t, FILE *to)
{
    const struct tt_model *m = t->model;
    int shapes = 5, scalars = 7, bytes = 5, used;
    char shape[TT_SHAPE_TEXT], a[NUMBER], b[NUMBER];

    for (int i = 0; i < m->nparams; i++) {
        int widths[3];

        shape_text(t, &m->params[i], shape);
        widths[0] = (int)strlen(shape);
        widths[1] = (int)strlen(number(m->params[i].n, a));
        widths[2] = (int)strlen(number(4 * m->params[i].n, a));
        shapes = widths[0] > shapes ? widths[0] : shapes;
        scalars = widths[1] > scalars ? widths[1] : scalars;
        bytes = widths[2] > bytes ? widths[2] : bytes;
    }
    fprintf(to, "\n");
    used = fprintf(to, "  %-9s %-8s %-*s %*s %*s  ", "kind", "member", shapes, "shape", scalars,
                   "scalars", bytes, "bytes");
    fprintf(to, "name\n");
    for (int i = 0; i < m->nparams; i++) {
        const struct tt_param *p = &m->params[i];
        const char *dots, *name = cut(p->name, used < COLUMNS - 16 ? COLUMNS - used : 16, &dots);

        shape_text(t, p, shape);
        fprintf(to, "%c %-9s %-8s %-*s %*s %*s  %s%s\n", t->selected && t->selected[i] ? '*' : ' ',
                tt_kind_name(p->kind), tt_member_name(p->member), shapes, shape, scalars,
                number(p->n, a), bytes, number(4 * p->n, b), dots, name);
        print_place(m, p, to);
    }
}

void tt_inspection_print(const struct tt_inspection *t, FILE *to)
{
    const struct tt_model *m = t->model;

    fprintf(to, "%s\n", t->path);
    label(to, "sha256");
    fprintf(to, "%s\n", m->hash);
    label(to, "format");
    fprintf(to, "ONNX opset %d, IR %d%s%s\n", m->graph.opset, m->ir_version,
            m->producer[0] ? ", written by " : "", m->producer);
    print_values(t, to);
    print_operators(t, to);
    print_policy(t, to);
    print_outputs_note(m, to);
    print_notes(t, to);
    if (m->nparams) {
        print_totals(t, to);
        print_params(t, to);
    }
}

/* ---- as JSON ------------------------------------------------------------------------- */

static json_t *value_json(const struct tt_inspection *t, int value)
{
    const struct tt_probe *p = &t->probes[value];
    json_t *shape = json_array();

    for (int i = 0; i < p->ndim; i++) {
        struct tt_affine d;
        char text[DIM];

        dim_text(p, i, text);
        json_array_append_new(shape, tt_probe_affine(p, i, &d) && !d.b ? json_integer(d.a)
                                                                       : json_string(text));
    }
    return json_pack("{s:s, s:o}", "name", t->model->graph.values[value].name, "shape", shape);
}

static json_t *param_json(const struct tt_inspection *t, int i)
{
    const struct tt_param *p = &t->model->params[i];
    const struct tt_value *v = &t->model->graph.values[p->value];
    json_t *shape = json_array(), *o;
    char text[NOTE];

    for (int k = 0; k < v->ndim; k++)
        json_array_append_new(shape, json_integer(v->dim[k]));
    o = json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:i}", "name", p->name, "kind",
                  tt_kind_name(p->kind), "member", tt_member_name(p->member), "shape", shape,
                  "scalars", (json_int_t)p->n, "bytes", 4 * (json_int_t)p->n, "uses", p->uses);
    if (p->node >= 0)
        json_object_set_new(o, "place",
                            json_pack("{s:s, s:s, s:i}", "node", tt_param_place(t->model, p),
                                      "operator", t->model->graph.nodes[p->node].op->name,
                                      "operand", p->operand));
    if (*note(t->model, i, text))
        json_object_set_new(o, "note", json_string(text));
    if (t->selected)
        json_object_set_new(o, "selected", json_boolean(t->selected[i]));
    return o;
}

static json_t *lists_json(const struct tt_inspection *t)
{
    const struct tt_graph *g = &t->model->graph;
    json_t *inputs = json_array(), *outputs = json_array(), *params = json_array();
    json_t *operators = json_object();
    struct use uses[MAXUSES];
    int n = count_uses(g, uses);

    for (int i = 0; i < g->nvalues; i++)
        if (g->values[i].kind == TT_INPUT)
            json_array_append_new(inputs, value_json(t, i));
    for (int i = 0; i < g->noutputs; i++)
        json_array_append_new(outputs, value_json(t, g->outputs[i]));
    for (int i = 0; i < n; i++)
        json_object_set_new(operators, uses[i].op->name, json_integer(uses[i].n));
    for (int i = 0; i < t->model->nparams; i++)
        json_array_append_new(params, param_json(t, i));
    return json_pack("{s:o, s:o, s:o, s:o}", "inputs", inputs, "outputs", outputs, "operators",
                     operators, "parameters", params);
}

json_t *tt_inspection_json(const struct tt_inspection *t)
{
    const struct tt_model *m = t->model;
    json_int_t all = (json_int_t)total(m);
    json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:s, s:i, s:{s:i, s:I, s:I}}", "path", t->path,
                          "hash", m->hash, "opset", m->graph.opset, "ir_version", m->ir_version,
                          "producer", m->producer, "nodes", m->graph.nnodes, "totals", "parameters",
                          m->nparams, "scalars", all, "bytes", 4 * all);
    json_t *lists = lists_json(t), *left = json_array();

    for (int i = 0; i < m->nleft; i++)
        json_array_append_new(left, json_string(m->left_out[i]));
    json_object_set_new(o, "left_out", left);
    json_object_set_new(o, "probabilities",
                        m->probabilities ? json_string(m->probabilities) : json_null());
    json_object_update(o, lists);
    json_decref(lists);
    if (t->policy)
        json_object_set_new(
            o, "policy",
            json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I}", "file", t->policy->file, "name",
                      t->policy->name, "engine", t->policy->method.preset, "hash", t->policy->hash,
                      "selected", t->nselected, "scalars", (json_int_t)t->scalars, "floats",
                      (json_int_t)t->floats, "stream_bytes", 4 * (json_int_t)t->floats));
    return o;
}
