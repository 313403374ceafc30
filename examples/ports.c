/* SPDX-License-Identifier: MIT */
/*
 * ports.c - the ports of services: the best known, or those given.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char *known[] = { "HTTP", "HTTPS", "FTP", "SSH", "SMTP", "DNS", NULL };
    int rc = 0;
    for (char **name = argc > 1 ? argv + 1 : known; *name; name++) {
        int port = pier_service_port(*name, NULL);
        if (port >= 0)
            printf("%s: %d\n", *name, port);
        else
            rc = pier_fail("ports");
    }
    return rc;
}
