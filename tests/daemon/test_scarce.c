// SPDX-License-Identifier: Apache-2.0
// Memory runs out: the n-th allocation fails, for every n until none is left to fail, while a
// model is loaded, a batch adapted, a snapshot written and a version gone back to.  Each time
// there is an error and nothing has changed, or the work is done as if nothing had happened.
#define _GNU_SOURCE
#include "tests/daemon/rig.h"

#include <dirent.h>
#include <link.h>
#include <omp.h>
#include <sys/wait.h>

/* ---- an allocator that can be told to fail --------------------------------------------------- */

static long countdown; // 0: nothing fails; n: the n-th allocation from now on
static bool for_good;  // and all after it
static bool injected;  // one has failed

/* Parts of other libraries that end the process when they get no memory: those are not ours. */
static struct span {
    uintptr_t from, to;
} spared[16];
static int nspared;

static int find_spared(struct dl_phdr_info *info, size_t size, void *arg)
{
    static const char *const names[] = {"libgomp", "libopenblas", "libgfortran", "ld-linux"};

    (void)size, (void)arg;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int k = 0; strstr(info->dlpi_name, names[i]) && k < info->dlpi_phnum; k++) {
            const ElfW(Phdr) *p = &info->dlpi_phdr[k];

            if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && nspared < 16)
                spared[nspared++] = (struct span){info->dlpi_addr + p->p_vaddr,
                                                  info->dlpi_addr + p->p_vaddr + p->p_memsz};
        }
    return 0;
}

static bool refuse(const void *caller)
{
    if (!countdown)
        return false;
    for (int i = 0; i < nspared; i++)
        if ((uintptr_t)caller >= spared[i].from && (uintptr_t)caller < spared[i].to)
            return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (!for_good)
        countdown = 0;
    injected = true;
    return true;
}

#define REFUSED refuse(__builtin_return_address(0))

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
    return REFUSED ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return REFUSED ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return REFUSED ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return REFUSED ? NULL : __libc_memalign(align, n);
}

/* ---- the jobs -------------------------------------------------------------------------------- */

static const char text[] = "preset: tent\n"
                           "guards:\n"
                           "  - {name: one, signal: class_share, above: 0.6, clear: 0.5, "
                           "min_samples: 32, consecutive: 1, action: rollback}\n"
                           "monitor: {window: 64, shadow: {every: 2, stats: [source, same]}}\n"
                           "snapshots: {every_updates: 2}\n"
                           "recovery: {warmup_samples: 0, soak_samples: 48, soak_evidence: 0.9}\n";

static struct rig rig;
static const struct tt_policy *policy;
static struct tt_plan *plan;
static struct tt_stream *stream;
static char dir[80], before[TT_HASH_SHORT + 1], after[TT_HASH_SHORT + 1];
static char *model_bytes;
static size_t nmodel;
static float x[ROWS * 28 * 28], logits[ROWS * 10], expected[ROWS * 10];
static int64_t turn;
static const char *trying = ""; // which job
static bool changed;            // or held: an update that could not be journaled is not published

/* Does the version that serves have the numbers that its name says? */
static bool serves(const char *name)
{
    const struct tt_version *v = &stream->versions.serving;
    char is[TT_HASH_SHORT + 1];
    uint64_t id;

    tt_version_name(stream->salt, v->block, stream->versions.floats, is, &id);
    if (!strcmp(is, v->name) && !strcmp(is, name))
        return true;
    fprintf(stderr, "version %s serves and says it is %s, wanted %s\n", is, v->name, name);
    return false;
}

static enum tt_code load_all(struct tt_err *err)
{
    struct tt_stream *s = NULL;
    struct tt_model *model = NULL;
    struct tt_policy *p = NULL;
    struct tt_plan *of = NULL;
    struct tt_arena arena;
    struct tt_diags diags;

    err->code = TT_OK;
    tt_arena_init(&arena, 0);
    tt_diags_init(&diags, &arena, "test.yaml", text, strlen(text));
    p = tt_policy_read("test.yaml", text, strlen(text), &arena, &diags);
    if (!p)
        (void)tt_diags_err(&diags, err);
    else if (tt_model_read_onnx(model_bytes, nmodel, 0, &model, err) == TT_OK &&
             tt_plan_new(model, &p->method, ROWS, &of, err) == TT_OK)
        err->code = tt_stream_new(&(struct tt_stream_spec){.name = "cam-7",
                                                           .model_name = "fashion",
                                                           .model = model,
                                                           .policy = p,
                                                           .plan = of,
                                                           .now_ms = 1000},
                                  &s, err);
    tt_stream_free(s);
    tt_plan_free(of);
    tt_model_free(model);
    tt_arena_release(&arena);
    return err->code;
}

static enum tt_code adapt(struct tt_err *err)
{
    char id[16];
    struct tt_batch b = {.id = id, .x = x, .rows = ROWS, .learn = true, .logits = logits};
    struct tt_result r;

    snprintf(id, sizeof id, "s%d", (int)turn);
    b.now_ms = 2000 + 10 * turn;
    if (tt_stream_step(stream, plan, &b, &r, err) != TT_OK)
        return err->code;
    changed = r.adapted || *r.rolled_back_to;
    tt_stream_settle(stream, plan, b.now_ms);
    return TT_OK;
}

static enum tt_code write_snapshot(struct tt_err *err)
{
    struct tt_version *v = tt_versions_keep(&stream->versions);

    if (!v)
        return tt_fail(err, TT_ENOMEM, "out of memory");
    return tt_stream_save(stream, plan, v, "asked for", 3000, err);
}

static enum tt_code go_back(struct tt_err *err)
{
    const struct tt_order o = {
        .action = TT_ACTION_ROLLBACK, .version = before, .actor = "test", .now_ms = 3000};
    struct tt_ordered got;

    if (tt_stream_fetch(stream, plan, before, err) != TT_OK)
        return err->code;
    return tt_stream_order(stream, &o, &got, err);
}

static int count_files(const char *holding)
{
    struct dirent *e;
    DIR *d = opendir(dir);
    int n = 0;

    while (d && (e = readdir(d)))
        n += strstr(e->d_name, holding) != NULL;
    if (d)
        closedir(d);
    return n;
}

/* ---- what must hold afterwards --------------------------------------------------------------- */

static bool nothing_to_check(bool done)
{
    (void)done;
    return true;
}

static bool adapted_or_not_at_all(bool done)
{
    const struct tt_version *v = &stream->versions.serving;
    const bool place = v->state == TT_VERSION_BASE || v->state == TT_VERSION_GOOD;

    if (!strcmp(trying, "trip") && place)
        return serves(v->name); // the one to go back to could not be read: the next older, or base
    return serves(done && changed ? after : before) &&
           (!done || !memcmp(logits, expected, sizeof expected) ||
            (fprintf(stderr, "the answer is another one\n"), false));
}

static bool written_whole_or_not_at_all(bool done)
{
    const int wanted = done ? 1 : 0, whole = count_files(before), all = count_files("safetensors");

    if (whole == wanted && all == count_files(".safetensors") && serves(before))
        return true;
    fprintf(stderr, "%d files of the version and %d in all, wanted %d\n", whole, all, wanted);
    return false;
}

static bool back_or_where_it_was(bool done)
{
    return serves(done ? before : after);
}

/* Run the job in a child whose n-th allocation fails (and all after it, with all).  Returns 0
 * when that was borne, 2 when fewer were made. */
static int run_scarce(enum tt_code (*job)(struct tt_err *err), bool (*holds)(bool done), long n,
                      bool all)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        struct tt_err err = {TT_OK, ""};
        enum tt_code code;

        for_good = all;
        countdown = n;
        code = job(&err);
        countdown = 0;
        if (code != TT_OK && (!injected || !err.msg[0])) {
            fprintf(stderr, "it failed with '%s' though %s\n", err.msg,
                    injected ? "it must say why" : "nothing was missing");
            _exit(1);
        }
        _exit(!holds(code == TT_OK) ? 1 : injected ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2))
        fail_msg("allocation %ld: %s %d", n, WIFEXITED(status) ? "exit status" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return WEXITSTATUS(status);
}

static void bear(const char *what, enum tt_code (*job)(struct tt_err *err),
                 bool (*holds)(bool done))
{
    long n = 1;

    trying = what;
    for (int all = 1; all >= 0; all--)
        for (n = 1; run_scarce(job, holds, n, all) == 0; n += all ? 1 + n / 16 : 1)
            assert_true(n < 100000);
    print_message("%s: %ld allocations, each failed once\n", what, n - 1);
    assert_true(n > 2); // else nothing was tried
}

/* ---- the tests ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    (void)state;
    omp_set_num_threads(1); // a child has no other
    (void)dl_iterate_phdr(find_spared, NULL);
    rig_up(&rig);
    model_bytes = read_file("models/fashion_resnet.onnx", &nmodel);
    policy = rig_policy(&rig, text);
    plan = rig_plan(&rig, policy);
    snprintf(dir, sizeof dir, "%s/cam-7", rig.dir);
    stream = rig_stream(&rig, policy, plan, dir);
    turn = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tt_stream_free(stream);
    tt_plan_free(plan);
    free(model_bytes);
    rig_down(&rig);
    return 0;
}

/* Step on; then what the next batch would do is known, for a child that does it undisturbed. */
static void learn(int batches)
{
    for (int i = 0; i < batches; i++)
        (void)rig_step(&rig, stream, plan, turn++);
    tt_stream_trim(stream, 0); // so that nothing is there yet for the next one
    memcpy(before, stream->versions.serving.name, sizeof before);
}

/* The version and answer of an undisturbed adapt(), computed by a child. */
static void foresee(void)
{
    int to[2], status;
    pid_t pid;

    assert_int_equal(pipe(to), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct tt_err err;

        if (adapt(&err) != TT_OK ||
            write(to[1], stream->versions.serving.name, sizeof after) != sizeof after ||
            write(to[1], logits, sizeof logits) != sizeof logits)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(to[0], after, sizeof after), sizeof after);
    assert_int_equal(read(to[0], expected, sizeof expected), sizeof expected);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(to[0]);
    close(to[1]);
}

static void a_model_a_policy_and_a_stream_load_or_say_what_is_missing(void **state)
{
    (void)state;
    bear("load", load_all, nothing_to_check);
}

static void a_batch_is_adapted_to_or_changes_nothing(void **state)
{
    (void)state;
    learn(5); // the next one makes a checkpoint, which is the first to soak
    rig_batch(&rig, turn, x);
    foresee();
    assert_string_not_equal(before, after);
    bear("adapt", adapt, adapted_or_not_at_all);
}

static void a_rollback_of_the_guard_happens_or_changes_nothing(void **state)
{
    struct tt_err err;

    (void)state;
    learn(12);
    rig_batch(&rig, 0, x);
    for (int64_t j = 1; j < ROWS; j++) // one image for ever: one class takes over
        memcpy(x + j * 784, x, 784 * sizeof *x);
    for (int i = 0; i < 40; i++, turn++) {
        memcpy(before, stream->versions.serving.name, sizeof before);
        foresee();
        if (!strcmp(before, after))
            fail_msg("batch %d does not learn", i);
        for (int k = 0; k < stream->versions.nring; k++)
            if (!strcmp(stream->versions.ring[k].name, after)) {
                bear("trip", adapt, adapted_or_not_at_all);
                return;
            }
        if (adapt(&err) != TT_OK)
            fail_msg("%s", err.msg);
    }
    fail_msg("the guard never tripped");
}

static void a_snapshot_is_written_whole_or_not_at_all(void **state)
{
    long n = 1;

    (void)state;
    learn(3);
    for (int all = 1; all >= 0; all--)
        for (n = 1;; n += all ? 1 + n / 16 : 1) {
            char command[160];
            const int got = run_scarce(write_snapshot, written_whole_or_not_at_all, n, all);

            snprintf(command, sizeof command, "rm -rf '%s'", dir);
            assert_int_equal(system(command), 0);
            if (got)
                break;
        }
    print_message("snapshot: %ld allocations, each failed once\n", n - 1);
    assert_true(n > 4);
}

static void an_order_to_go_back_is_followed_or_changes_nothing(void **state)
{
    struct tt_err err;

    (void)state;
    learn(3);
    if (write_snapshot(&err) != TT_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < 3; i++)
        (void)rig_step(&rig, stream, plan, turn++);
    memcpy(after, stream->versions.serving.name, sizeof after);
    tt_stream_trim(stream, 0); // so that it has to be read from the disk
    bear("go back", go_back, back_or_where_it_was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_model_a_policy_and_a_stream_load_or_say_what_is_missing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_is_adapted_to_or_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_rollback_of_the_guard_happens_or_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_is_written_whole_or_not_at_all, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_order_to_go_back_is_followed_or_changes_nothing, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("scarce", tests, NULL, NULL);
}
