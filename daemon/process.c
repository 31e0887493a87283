// SPDX-License-Identifier: Apache-2.0
#include "daemon/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void read_memory(struct tt_process *ret)
{
    const int64_t page = sysconf(_SC_PAGESIZE);
    long long all, resident;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return;
    if (fscanf(f, "%lld %lld", &all, &resident) == 2) { // NOLINT(cert-err34-c): the kernel's
        ret->virtual_bytes = all * page;
        ret->resident_bytes = resident * page;
    }
    (void)fclose(f);
}

static int64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t n = 0;

    if (!dir)
        return 0;
    for (const struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    return n - 1; // that of the folder itself
}

void tt_process_read(struct tt_process *ret)
{
    struct rlimit limit;
    struct rusage use;

    *ret = (struct tt_process){.open_fds = count_fds()};
    read_memory(ret);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        ret->max_fds = limit.rlim_cur == RLIM_INFINITY ? 0 : (int64_t)limit.rlim_cur;
    if (getrusage(RUSAGE_SELF, &use) == 0)
        ret->cpu_s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

int64_t tt_process_peak(void)
{
    long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "re");

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld kB", &kib) == 1) // NOLINT(cert-err34-c): the kernel's
            break;
    (void)fclose(f);
    return (int64_t)kib * 1024;
}

bool tt_process_forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");
    bool ok = f && fputs("5", f) >= 0;

    return f && !fclose(f) && ok;
}
