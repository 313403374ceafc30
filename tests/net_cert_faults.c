/* SPDX-License-Identifier: MIT */
/* not on tsan: its runtime is linked in, and its calls would be put in other places, too */
/*
 * net_cert_faults: making certificates with every call and every request for memory failing in
 * turn, and with calls interrupted all the time.
 */
#include "files.h"
#include "net_faults.h"

static void prepare(void)
{
    begin_folder();
    setenv("XDG_DATA_HOME", in_folder("data"), 1);
}

static int create(void)
{
    static const char *const names[] = { "a.test", "127.0.0.1" };
    struct pier_cert_files files;
    int rc = pier_cert_create(&files, in_folder("a"), names, 2, NULL);
    pier_cert_files_fini(&files);
    return rc;
}

static int read_it(void)
{
    struct pier_certs certs;
    int rc = pier_certs_read(&certs, in_folder("data/pier/localhost.pem"));
    pier_certs_fini(&certs);
    return rc;
}

static int make_own_and_read_it(void)
{
    struct pier_cert_files files;
    int rc = pier_cert_localhost(&files);
    pier_cert_files_fini(&files);
    return rc < 0 ? rc : read_it();
}

/* Whatever has failed, the next call succeeds or says what is to be removed. */
static void expect_no_half(int rc)
{
    struct pier_cert_files files;
    int again = pier_cert_localhost(&files);
    if (again < 0 && !strstr(pier_error(), "remove"))
        ck_abort_msg("%s", pier_error());
    pier_cert_files_fini(&files);
    end_folder();
}

static const char words[] =
    "cert create|cert show|write /|read /|open /|stat /|offload|file|SHA-256";

TEST(making_certificates_says_what_failed)
{
    static const struct path path = {
        .prepare = prepare,
        .walk = create,
        .clean = expect_no_half,
        .says = words,
        .recovers = "mkdir",
        .offloads = true,
        .brief = true,
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

TEST(making_and_reading_the_own_one_says_what_failed)
{
    static const struct path path = {
        .prepare = prepare,
        .walk = make_own_and_read_it,
        .clean = expect_no_half,
        .says = words,
        .recovers = "mkdir",
        .offloads = true,
        .brief = true,
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

HARNESS_MAIN("net_cert_faults")
