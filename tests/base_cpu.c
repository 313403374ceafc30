/* SPDX-License-Identifier: MIT */
/* base_cpu: how many processors a process may use, by its mask and by the quota of its cgroups. */
#include "harness.h"

#include "base/cpu.h"

#include <limits.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a made-up machine in a directory of its own ---- */

static char root[] = "/tmp/pier_cpu_XXXXXX";

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *at = full + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        mkdir(full, 0700);
    }
    FILE *f = fopen(full, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* mounts has one %s for each mount: the directory. */
static int quota(const char *cgroup, const char *mounts)
{
    char text[2048], cgroup_file[128], mounts_file[128];
    snprintf(text, sizeof text, mounts, root, root);
    put("cgroup", cgroup);
    put("mounts", text);
    snprintf(cgroup_file, sizeof cgroup_file, "%s/cgroup", root);
    snprintf(mounts_file, sizeof mounts_file, "%s/mounts", root);
    return pi_cpu_quota(cgroup_file, mounts_file);
}

static void make_root(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

#define V2 "29 23 0:26 / %s/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1 "32 31 0:29 / %s/v1 rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
#define V1_SET "32 31 0:29 / %s/v1 rw,relatime - cgroup cgroup rw,cpuset\n"

/* ---- version 2 ---- */

TEST(cpu_quota_of_v2_is_rounded_up)
{
    make_root();
    put("v2/box/cpu.max", "150000 100000\n");
    ck_assert_int_eq(quota("0::/box\n", V2), 2);
    put("v2/box/cpu.max", "200000 100000\n");
    ck_assert_int_eq(quota("0::/box\n", V2), 2);
    put("v2/box/cpu.max", "200001 100000\n");
    ck_assert_int_eq(quota("0::/box\n", V2), 3);
    put("v2/box/cpu.max", "1000 100000\n");
    ck_assert_int_eq(quota("0::/box\n", V2), 1);
    remove_root();
}

TEST(cpu_quota_of_v2_may_be_none)
{
    make_root();
    put("v2/box/cpu.max", "max 100000\n");
    ck_assert_int_eq(quota("0::/box\n", V2), INT_MAX);
    ck_assert_int_eq(quota("0::/other\n", V2), INT_MAX);
    ck_assert_int_eq(quota("", V2), INT_MAX);
    ck_assert_int_eq(quota("0::/box\n", ""), INT_MAX);
    put("v2/box/cpu.max", "nonsense\n");
    ck_assert_int_eq(quota("0::/box\n", V2), INT_MAX);
    ck_assert_int_eq(pi_cpu_quota("/nonexistent", "/nonexistent"), INT_MAX);
    remove_root();
}

TEST(cpu_quota_is_the_smallest_up_to_the_root)
{
    make_root();
    put("v2/a/cpu.max", "300000 100000\n");
    put("v2/a/b/cpu.max", "max 100000\n");
    put("v2/a/b/c/cpu.max", "500000 100000\n");
    ck_assert_int_eq(quota("0::/a/b/c\n", V2), 3);
    put("v2/cpu.max", "200000 100000\n");
    ck_assert_int_eq(quota("0::/a/b/c\n", V2), 2);
    put("cpu.max", "100000 100000\n"); /* above the mount: not a cgroup */
    ck_assert_int_eq(quota("0::/a/b/c\n", V2), 2);
    remove_root();
}

/* In a container the mount may show only its own part of the tree, under the host's path or not. */
TEST(cpu_quota_is_found_below_another_root)
{
    make_root();
    put("v2/cpu.max", "400000 100000\n");
    put("v2/in/cpu.max", "300000 100000\n");
    const char *mount = "29 23 0:26 /docker/1 %s/v2 rw - cgroup2 cgroup2 rw\n";
    ck_assert_int_eq(quota("0::/docker/1\n", mount), 4);
    ck_assert_int_eq(quota("0::/docker/1/in\n", mount), 3);
    ck_assert_int_eq(quota("0::/docker/12\n", mount), 4);
    ck_assert_int_eq(quota("0::/elsewhere/in\n", mount), 4);
    ck_assert_int_eq(quota("0::/../in\n", V2), 4);
    remove_root();
}

/* ---- version 1 ---- */

TEST(cpu_quota_of_v1_is_rounded_up)
{
    make_root();
    put("v1/box/cpu.cfs_quota_us", "250000\n");
    put("v1/box/cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(quota("5:cpuset:/\n4:cpu,cpuacct:/box\n", V1), 3);
    ck_assert_int_eq(quota("4:cpuacct,cpu:/box\n", V1), 3);
    ck_assert_int_eq(quota("4:cpuset:/box\n", V1), INT_MAX);
    ck_assert_int_eq(quota("4:cpu:/box\n", V1_SET), INT_MAX);
    put("v1/box/cpu.cfs_quota_us", "-1\n");
    ck_assert_int_eq(quota("4:cpu:/box\n", V1), INT_MAX);
    put("v1/box/cpu.cfs_quota_us", "250000\n");
    put("v1/box/cpu.cfs_period_us", "0\n");
    ck_assert_int_eq(quota("4:cpu:/box\n", V1), INT_MAX);
    remove_root();
}

TEST(cpu_quota_is_the_smallest_of_both_versions)
{
    make_root();
    put("v2/box/cpu.max", "300000 100000\n");
    put("v1/box/cpu.cfs_quota_us", "200000\n");
    put("v1/box/cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(quota("4:cpu:/box\n0::/box\n", V2 V1), 2);
    put("v1/box/cpu.cfs_quota_us", "400000\n");
    ck_assert_int_eq(quota("4:cpu:/box\n0::/box\n", V2 V1), 3);
    remove_root();
}

/* ---- this machine ---- */

TEST(cpu_count_follows_the_affinity_mask)
{
    int all = pier_cpu_count();
    ck_assert_int_ge(all, 1);
    ck_assert_int_le(all, sysconf(_SC_NPROCESSORS_CONF));
    cpu_set_t mask, one;
    sched_getaffinity(0, sizeof mask, &mask);
    CPU_ZERO(&one);
    for (int i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &mask))
            CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(pier_cpu_count(), 1);
}

HARNESS_MAIN("base_cpu")
