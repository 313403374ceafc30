/* SPDX-License-Identifier: MIT */
/*
 * http_curl.c - what http_client.c does, by curl's library: one easy handle, used again and again.
 *
 * http_curl URL [COUNT]: prints nanoseconds of CPU and of time per request.
 */
#include <curl/curl.h>
#include <pier/pier.h>

#include <stdlib.h>
#include <time.h>

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * PIER_SECOND + t.tv_nsec;
}

static size_t drop(char *bytes, size_t size, size_t count, void *arg)
{
    return size * count;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return fputs("usage: http_curl URL [COUNT]\n", stderr), 2;
    int count = argc > 2 ? atoi(argv[2]) : 10000;
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    int64_t cpu = 0, began = 0;
    for (int i = -count / 10; i < count; i++) { /* a tenth to warm up */
        if (i == 0) {
            cpu = cpu_ns();
            began = pier_now();
        }
        long status = 0;
        CURLcode rc = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (rc != CURLE_OK || status != 200)
            return fprintf(stderr, "http_curl: %s\n", curl_easy_strerror(rc)), 1;
    }
    printf("%lld %lld\n", (long long)(cpu_ns() - cpu) / count,
           (long long)(pier_now() - began) / count);
    curl_easy_cleanup(curl);
}
