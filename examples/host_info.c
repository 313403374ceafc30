/* SPDX-License-Identifier: MIT */
/*
 * host_info.c - the name of this host, its address, and the address of a name given.
 */
#include <pier/pier.h>

static int print_address(const char *what, const char *name)
{
    struct pier_ip ip;
    if (pier_resolve(&ip, 1, name, NULL) < 0)
        return pier_fail("host_info");
    printf("%s: %s\n", what, ip.text);
    return 0;
}

int main(int argc, char **argv)
{
    char host[PIER_NAME_CAP];
    pier_hostname(host, sizeof host);
    printf("host name: %s\n", host);
    int own = print_address("address", host);
    int given = argc > 1 ? print_address(argv[1], argv[1]) : 0;
    return own ? own : given;
}
