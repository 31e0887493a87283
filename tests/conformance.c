// SPDX-License-Identifier: Apache-2.0
/*
 * make conformance: the ONNX project's own backend tests, as Debian's libonnx-testdata ships them.
 *
 * A case is a model with inputs and the results that it must have.  A case counts when all its
 * operators are among those that the runtime means to have (listed), and then it must pass, unless
 * the table left_out says why not; a row of that table that keeps no failing case out is an error,
 * too.  Results are compared as ONNX's runner does: rtol 1e-3, atol 1e-7; integers and booleans
 * exactly.
 */
#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/model.h"
#include "runtime/program.h"
#include "tests/support/onnx_values.h"

#define RTOL      1e-3
#define ATOL      1e-7
#define MAX_CASES 4096
#define MAX_IN    64

static const char *const folders[] = {"node", "simple", "pytorch-converted", "pytorch-operator"};

/* The operators that are meant to work, sorted. */
static const char listed_names[] =
    "Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat "
    "Constant ConstantOfShape Conv ConvTranspose CumSum DepthToSpace Div Dropout Einsum Elu "
    "Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool "
    "GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity "
    "InstanceNormalization IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log "
    "LogSoftmax MatMul Max MaxPool Mean Min Mod Mul Neg Not OneHot Or PRelu Pad Pow Range "
    "Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Shape "
    "Sigmoid Sign Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Tile "
    "TopK Transpose Trilu Unsqueeze Where Xor";

/* Cases of listed operators that are not run, as patterns of their names. */
static const struct {
    const char *pattern, *why;
} left_out[] = {
    {"test_cast*STRING*", "strings"},
    {"test_identity_sequence", "a sequence of tensors"},
    {"test_identity_opt", "an optional of a sequence"},
    {"test_training_dropout*", "training mode"},
    {"test_batchnorm_*_training_mode", "training mode"},
    {"test_dropout_default_mask*", "the mask of a Dropout, which training is for"},
    {"test_cast*BFLOAT16*", "its bfloat16 are kept as integers of 16 bits"},
    {"test_nllloss_NCd1d2d3d4d5_*", "seven dimensions"},
    {"test_Conv3d*", "convolution over three dimensions"},
    {"test_reshape_allowzero_reordered", "a tensor without elements"},
    {"test_slice_start_out_of_bounds", "a tensor without elements"},
    {"test_split_zero_size_splits", "a tensor without elements"},
    {"test_tril_zero", "a tensor without elements"},
    {"test_constantofshape_int_shape_zero", "a tensor without elements"},
    {"test_resize_tf_crop_and_resize", "a box to crop"},
    {"test_operator_add_broadcast", "float64 beyond float32's range"},
    {"test_operator_add_size1_right_broadcast", "float64 beyond float32's range"},
    {"test_operator_add_size1_singleton_broadcast", "float64 beyond float32's range"},
    {"test_operator_addconstant", "float64 beyond float32's range"},
};

enum { MAX_LISTED = 160, NLEFT_OUT = sizeof left_out / sizeof *left_out };

static const char *listed[MAX_LISTED];
static int nlisted;

struct totals {
    int run, passed;
    int op_run[MAX_LISTED], op_passed[MAX_LISTED];
    int rows[NLEFT_OUT], stale[NLEFT_OUT]; // cases that a row keeps out; those that would pass
    int nother;                            // operators that are not listed
    struct other {
        char name[64];
        int cases;
    } other[256];
};

/* ---- files ---------------------------------------------------------------------------------- */

static void *read_all(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "rb");
    struct stat s;
    char *data = NULL;

    if (!f)
        return NULL;
    if (!fstat(fileno(f), &s) && (data = (char *)malloc((size_t)s.st_size + 1)))
        *ret_n = fread(data, 1, (size_t)s.st_size, f);
    fclose(f);
    return data;
}

static Onnx__TensorProto *read_tensor(const char *folder, int set, const char *kind, int i)
{
    char path[1024];
    size_t n = 0;
    void *data;
    Onnx__TensorProto *t;

    snprintf(path, sizeof path, "%s/test_data_set_%d/%s_%d.pb", folder, set, kind, i);
    data = read_all(path, &n);
    t = data ? onnx__tensor_proto__unpack(NULL, n, (const uint8_t *)data) : NULL;
    free(data);
    return t;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* Whether what was computed is what was wanted; tells the first difference. */
static bool same(const struct tt_tensor *got, const Onnx__TensorProto *want, char *why, size_t n)
{
    char a[TT_SHAPE_TEXT], b[TT_SHAPE_TEXT];
    bool shape = (size_t)got->ndim == want->n_dims;

    for (int i = 0; shape && i < got->ndim; i++)
        shape = got->dim[i] == want->dims[i];
    if (!shape) {
        snprintf(why, n, "the result has shape %s, want %s",
                 tt_shape_text(got->dim, got->ndim, a, sizeof a),
                 tt_shape_text(want->dims, (int)want->n_dims, b, sizeof b));
        return false;
    }
    for (int64_t i = 0; i < onnx_count(want); i++) {
        double w = onnx_element(want, i), g = (double)got->x[i];
        bool near = w == g || (isnan(w) && isnan(g));

        if (!near && onnx_is_float(want->data_type))
            near = fabs(w - g) <= ATOL + RTOL * fabs(w);
        if (near)
            continue;
        snprintf(why, n, "element %lld is %.9g, want %.9g", (long long)i, g, w);
        return false;
    }
    return true;
}

/* ---- a model -------------------------------------------------------------------------------- */

static bool default_domain(const char *domain)
{
    return !domain || !domain[0] || !strcmp(domain, "ai.onnx");
}

static int listed_index(const Onnx__NodeProto *node)
{
    for (int i = 0; default_domain(node->domain) && i < nlisted; i++)
        if (!strcmp(listed[i], node->op_type))
            return i;
    return -1;
}

/* A name of the graph whose value has to be known when the model is read, or that such a one is
 * made from: what feeds an operand that our operator reads then.  seen [g->n_node]: nodes whose
 * results were followed. */
static bool is_static(const Onnx__GraphProto *g, const char *name, bool *seen)
{
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *node = g->node[i];
        const struct tt_op *op = tt_op_find(node->op_type);
        bool shape = !strcmp(node->op_type, "ConstantOfShape");

        if (!strcmp(node->op_type, "Shape") || !strcmp(node->op_type, "Size"))
            continue;
        for (size_t k = 0; k < node->n_input; k++) {
            if (strcmp(node->input[k], name) != 0)
                continue;
            if (shape || (op && (op->ints | op->known) >> k & 1))
                return true;
            if (seen[i])
                continue;
            seen[i] = true;
            for (size_t r = 0; r < node->n_output; r++)
                if (is_static(g, node->output[r], seen))
                    return true;
        }
    }
    return false;
}

static bool has_initializer(const Onnx__GraphProto *g, const char *name)
{
    for (size_t i = 0; i < g->n_initializer; i++)
        if (!strcmp(g->initializer[i]->name, name))
            return true;
    return false;
}

/* A case on its way. */
struct run {
    const char *folder;
    int set;
    Onnx__ModelProto *file;
    int nin;
    const char *names[MAX_IN];
    Onnx__TensorProto *in[MAX_IN]; // owned here
    bool fixed[MAX_IN];            // became an initializer
    struct tt_model *model;
    char *why;
    size_t nwhy;
};

static bool refuse(struct run *r, const char *what)
{
    snprintf(r->why, r->nwhy, "%s", what);
    return false;
}

/* The same for an input: nothing was followed so far. */
static bool is_static_input(const Onnx__GraphProto *g, const char *name)
{
    bool *seen = (bool *)calloc(g->n_node + 1, sizeof *seen), found;

    if (!seen)
        exit(2);
    found = is_static(g, name, seen);
    free(seen);
    return found;
}

static bool find_inputs(struct run *r)
{
    const Onnx__GraphProto *g = r->file->graph;

    for (size_t i = 0; i < g->n_input; i++) {
        if (has_initializer(g, g->input[i]->name))
            continue;
        if (r->nin == MAX_IN)
            return refuse(r, "too many inputs");
        r->in[r->nin] = read_tensor(r->folder, r->set, "input", r->nin);
        if (!r->in[r->nin])
            return refuse(r, "an input of the case cannot be read");
        r->fixed[r->nin] = is_static_input(g, g->input[i]->name);
        r->names[r->nin++] = g->input[i]->name;
    }
    return true;
}

/* The model with its fixed inputs as initializers, through the ordinary loader. */
static bool load(struct run *r)
{
    Onnx__GraphProto *g = r->file->graph, changed = *g;
    Onnx__ModelProto file = *r->file;
    Onnx__TensorProto fixed[MAX_IN];
    Onnx__TensorProto **all =
        (Onnx__TensorProto **)calloc(g->n_initializer + MAX_IN, sizeof(Onnx__TensorProto *));
    Onnx__ValueInfoProto **inputs =
        (Onnx__ValueInfoProto **)calloc(g->n_input + 1, sizeof(Onnx__ValueInfoProto *));
    struct tt_err err;
    enum tt_code rc;
    void *bytes;
    size_t n;

    if (!all || !inputs)
        exit(2);
    for (size_t i = 0; i < g->n_initializer; i++)
        all[i] = g->initializer[i];
    changed.initializer = all;
    changed.input = inputs;
    changed.n_input = 0;
    for (size_t i = 0, k = 0; i < g->n_input; i++) {
        bool mine = !has_initializer(g, g->input[i]->name);

        if (mine && r->fixed[k]) {
            fixed[k] = *r->in[k];
            memcpy(&fixed[k].name, &r->names[k], sizeof fixed[k].name); // only packed
            all[changed.n_initializer++] = &fixed[k];
        } else {
            inputs[changed.n_input++] = g->input[i];
        }
        k += mine;
    }
    file.graph = &changed;
    n = onnx__model_proto__get_packed_size(&file);
    bytes = malloc(n + 1);
    if (!bytes)
        exit(2);
    onnx__model_proto__pack(&file, (uint8_t *)bytes);
    rc = tt_model_read_onnx(bytes, n, 0, &r->model, &err);
    free(bytes);
    free(all);
    free(inputs);
    return rc ? refuse(r, err.msg) : true;
}

static bool feed(struct run *r, struct tt_program *p)
{
    for (int k = 0; k < r->nin; k++) {
        int value = r->fixed[k] ? -1 : tt_graph_find(&r->model->graph, r->names[k]);
        struct tt_tensor *t = value < 0 ? NULL : tt_program_tensor(p, value);

        if (!t)
            continue;
        if (tt_len(t) != onnx_count(r->in[k]))
            return refuse(r, "an input of the case is not of the model's shape");
        for (int64_t i = 0; i < tt_len(t); i++)
            t->x[i] = (float)onnx_element(r->in[k], i);
    }
    return true;
}

static bool compare(struct run *r, struct tt_program *p)
{
    const struct tt_graph *g = &r->model->graph;

    for (int i = 0; i < g->noutputs; i++) {
        Onnx__TensorProto *want = read_tensor(r->folder, r->set, "output", i);
        const struct tt_tensor *got = tt_program_tensor(p, g->outputs[i]);
        bool ok = want && got && same(got, want, r->why, r->nwhy);

        if (!want || !got)
            refuse(r, want ? "an output is not computed" : "an output of the case cannot be read");
        if (want)
            onnx__tensor_proto__free_unpacked(want, NULL);
        if (!ok)
            return false;
    }
    return true;
}

/* Load, run, compare; one set of data of a case. */
static bool run_set(struct run *r)
{
    struct tt_program_spec spec = {.limit = 1, .loss = -1};
    struct tt_program *p;
    struct tt_err err;
    bool ok;

    if (!find_inputs(r) || !load(r))
        return false;
    for (int k = 0; k < r->nin; k++)
        if (!r->fixed[k] && r->in[k]->n_dims && spec.limit == 1)
            spec.limit = r->in[k]->dims[0];
    spec.graph = &r->model->graph;
    spec.outputs = r->model->graph.outputs;
    spec.noutputs = r->model->graph.noutputs;
    if (tt_program_new(&spec, &p, &err))
        return refuse(r, err.msg);
    ok = feed(r, p);
    if (ok) {
        tt_program_forward(p);
        ok = compare(r, p);
    }
    tt_program_free(p);
    return ok;
}

static bool run_case(const char *folder, Onnx__ModelProto *file, char *why, size_t n)
{
    bool ok = true;
    int set = 0;

    for (; ok && set < 100; set++) {
        struct run r = {.folder = folder, .set = set, .file = file, .why = why, .nwhy = n};
        char path[1024];
        struct stat s;

        snprintf(path, sizeof path, "%s/test_data_set_%d", folder, set);
        if (stat(path, &s))
            break;
        ok = run_set(&r);
        tt_model_free(r.model);
        for (int k = 0; k < r.nin; k++)
            onnx__tensor_proto__free_unpacked(r.in[k], NULL);
    }
    if (!set)
        snprintf(why, n, "the case has no data");
    return ok && set;
}

/* ---- cases ---------------------------------------------------------------------------------- */

static void count_other(struct totals *t, const char *op)
{
    int i = 0;

    while (i < t->nother && strcmp(t->other[i].name, op) != 0)
        i++;
    if (i == t->nother && i < (int)(sizeof t->other / sizeof *t->other)) {
        snprintf(t->other[i].name, sizeof t->other[i].name, "%s", op);
        t->nother++;
    }
    if (i < t->nother)
        t->other[i].cases++;
}

static void one_case(struct totals *t, const char *root, const char *folder, const char *name)
{
    char path[1024], file_path[1100], why[512] = "";
    bool seen[MAX_LISTED] = {false}, ok;
    Onnx__ModelProto *file;
    const char *other = NULL;
    size_t n = 0;
    void *data;

    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    snprintf(file_path, sizeof file_path, "%s/model.onnx", path);
    data = read_all(file_path, &n);
    file = data ? onnx__model_proto__unpack(NULL, n, (const uint8_t *)data) : NULL;
    free(data);
    if (!file || !file->graph) {
        printf("FAIL %s/%s: model.onnx cannot be read\n", folder, name);
        t->run++;
        return;
    }
    for (size_t i = 0; i < file->graph->n_node && !other; i++) {
        int at = listed_index(file->graph->node[i]);

        if (at < 0)
            other = file->graph->node[i]->op_type;
        else
            seen[at] = true;
    }
    if (other) {
        count_other(t, other);
        onnx__model_proto__free_unpacked(file, NULL);
        return;
    }
    ok = run_case(path, file, why, sizeof why);
    onnx__model_proto__free_unpacked(file, NULL);
    for (int i = 0; i < NLEFT_OUT; i++)
        if (!fnmatch(left_out[i].pattern, name, 0)) {
            t->rows[i]++;
            t->stale[i] += ok;
            return;
        }
    t->run++;
    t->passed += ok;
    for (int i = 0; i < nlisted; i++) {
        t->op_run[i] += seen[i];
        t->op_passed[i] += seen[i] && ok;
    }
    if (!ok)
        printf("FAIL %s/%s: %s\n", folder, name, why);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void run_folder(struct totals *t, const char *root, const char *folder, const char *only)
{
    static char *names[MAX_CASES];
    char path[1024];
    struct dirent *e;
    int n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/%s", root, folder);
    d = opendir(path);
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' && n < MAX_CASES && (!only || !fnmatch(only, e->d_name, 0)))
            names[n++] = strdup(e->d_name);
    if (d)
        closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        one_case(t, root, folder, names[i]);
        free(names[i]);
    }
}

/* Returns how many mistakes there are. */
static int report(const struct totals *t, bool all)
{
    int bad = t->run - t->passed;

    for (int i = 0; i < nlisted; i++)
        if (t->op_run[i])
            printf("%-24s %d/%d\n", listed[i], t->op_passed[i], t->op_run[i]);
        else if (all)
            printf("%-24s no case\n", listed[i]);
    for (int i = 0; all && i < NLEFT_OUT; i++) {
        printf("left out: %s (%d): %s\n", left_out[i].pattern, t->rows[i], left_out[i].why);
        if (t->rows[i] && !t->stale[i])
            continue;
        printf("FAIL %s: %d cases, of which %d pass\n", left_out[i].pattern, t->rows[i],
               t->stale[i]);
        bad++;
    }
    for (int i = 0; i < t->nother; i++)
        printf("%s%s (%d)",
               i ? ", " : "operators that are not listed, with their cases: ", t->other[i].name,
               t->other[i].cases);
    printf("%stotal %d/%d\n", t->nother ? "\n" : "", t->passed, t->run);
    return bad + (all && !t->run);
}

int main(int argc, char **argv)
{
    static struct totals t;
    static char text[sizeof listed_names];
    const char *only = argc > 2 ? argv[2] : NULL;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: conformance DATA [PATTERN]\n"
                        "  PATTERN chooses cases by name: 'test_softmax*'\n");
        return 2;
    }
    memcpy(text, listed_names, sizeof text);
    for (char *op = strtok(text, " "); op && nlisted < MAX_LISTED; op = strtok(NULL, " "))
        listed[nlisted++] = op;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        run_folder(&t, argv[1], folders[i], only);
    return report(&t, !only) ? 1 : 0;
}
