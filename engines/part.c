// SPDX-License-Identifier: Apache-2.0
#include "engines/part.h"

#include <string.h>

#define TT_PART(name) extern const struct tt_part tt_part_##name;
#include "engines/parts.def"
#undef TT_PART

const struct tt_part *const tt_parts[] = {
#define TT_PART(name) &tt_part_##name,
#include "engines/parts.def"
#undef TT_PART
    NULL,
};

static const struct {
    const char *key, *named_by;
    bool list;
} slots[] = {
#define TT_SLOT_ROW(slot, key, named_by, list) {key, named_by, list},
    TT_SLOTS(TT_SLOT_ROW)
#undef TT_SLOT_ROW
};

const struct tt_part *tt_part_find(enum tt_slot slot, const char *name)
{
    for (const struct tt_part *const *p = tt_parts; *p; p++)
        if ((*p)->slot == slot && !strcmp((*p)->name, name))
            return *p;
    return NULL;
}

const char *tt_slot_key(enum tt_slot slot)
{
    return slots[slot].key;
}

const char *tt_slot_named_by(enum tt_slot slot)
{
    return slots[slot].named_by;
}

bool tt_slot_is_list(enum tt_slot slot)
{
    return slots[slot].list;
}
