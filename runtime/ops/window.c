// SPDX-License-Identifier: Apache-2.0
#include "runtime/ops/window.h"

#include <string.h>

static enum tt_code numbers(struct tt_attrs *a, const char *name, int want, int64_t def,
                            int64_t low, int64_t *to, struct tt_err *err)
{
    int64_t n;
    const int64_t *v = tt_attr_ints(a, name, &n);

    if (v && n != want)
        return tt_fail(err, TT_EUNSUPPORTED, "attribute '%s' has %lld values, want %d", name,
                       (long long)n, want);
    for (int i = 0; i < want; i++) {
        to[i] = v ? v[i] : def;
        if (to[i] < low || to[i] > TT_WINDOW_LARGEST)
            return tt_fail(err, TT_ERANGE, "attribute '%s': %lld is outside [%lld, %d]", name,
                           (long long)to[i], (long long)low, TT_WINDOW_LARGEST);
    }
    return TT_OK;
}

static enum tt_code read_words(struct tt_attrs *a, struct tt_window *w, struct tt_err *err)
{
    static const char *const words[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    static const enum tt_auto_pad means[] = {TT_PAD_GIVEN, TT_PAD_UPPER, TT_PAD_LOWER,
                                             TT_PAD_GIVEN};
    const char *how = tt_attr_str(a, "auto_pad", words[0]);
    int i = 0;

    while (i < 4 && strcmp(how, words[i]) != 0)
        i++;
    if (i == 4)
        return tt_fail(err, TT_ERANGE, "attribute 'auto_pad': '%s' is not known", how);
    w->auto_pad = means[i];
    w->ceil = tt_attr_int(a, "ceil_mode", 0) != 0;
    return TT_OK;
}

static enum tt_code read_numbers(struct tt_attrs *a, struct tt_window *w, struct tt_err *err)
{
    if (numbers(a, "kernel_shape", w->n, 0, 0, w->kernel, err) != TT_OK ||
        numbers(a, "strides", w->n, 1, 1, w->stride, err) != TT_OK ||
        numbers(a, "pads", 2 * w->n, 0, 0, w->pad, err) != TT_OK ||
        numbers(a, "dilations", w->n, 1, 1, w->dilation, err) != TT_OK)
        return err->code;
    return TT_OK;
}

enum tt_code tt_window_read(struct tt_attrs *a, struct tt_window *w, struct tt_err *err)
{
    static const char *const names[] = {"kernel_shape", "strides", "dilations", "pads"};
    int64_t n = 0, found;

    for (int i = 0; i < 4 && !n; i++) {
        (void)tt_attr_ints(a, names[i], &found);
        n = i < 3 ? found : found / 2;
    }
    if (n > TT_MAXSPACE)
        return tt_fail(err, TT_EUNSUPPORTED, "%lld spatial dimensions, at most %d are supported",
                       (long long)n, TT_MAXSPACE);
    w->n = (int)n;
    return read_words(a, w, err) ? err->code : read_numbers(a, w, err);
}

struct tt_window tt_window_of(const struct tt_window *w, int n)
{
    struct tt_window v = *w;

    for (int i = 0; !w->n && i < n; i++)
        v.stride[i] = v.dilation[i] = 1;
    v.n = n;
    return v;
}

int64_t tt_window_places(const struct tt_window *w, int i, int64_t kernel, int64_t size,
                         int64_t *before, int64_t *after)
{
    int64_t reach = (kernel - 1) * w->dilation[i] + 1, stride = w->stride[i], room, n;

    *before = w->pad[i];
    *after = w->pad[i + w->n];
    if (w->auto_pad != TT_PAD_GIVEN) {
        n = (size + stride - 1) / stride;
        room = (n - 1) * stride + reach - size;
        room = room < 0 ? 0 : room;
        *before = w->auto_pad == TT_PAD_UPPER ? room / 2 : room - room / 2;
        *after = room - *before;
        return n;
    }
    room = size + *before + *after - reach;
    if (room < 0 && (!w->ceil || room <= -stride))
        return 0; // rounded up, one place remains, as EfficientNet's pooler is exported
    n = (room + (w->ceil ? stride - 1 : 0)) / stride + 1;
    if (w->ceil && (n - 1) * stride >= size + *before)
        n--; // the last place would begin in the padding behind
    return n;
}
