/* SPDX-License-Identifier: MIT */
/*
 * http_curl.c - what http_client.c does, by curl's library: one easy handle, used again and again.
 *
 * http_curl [FOLDER]: FOLDER has http_pier; default build/bench.
 */
#include <curl/curl.h>

#include "http_client.h"

static CURL *curl;

static size_t drop(char *bytes, size_t size, size_t count, void *arg)
{
    return size * count;
}

static int get(const char *url)
{
    long status = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc == CURLE_OK && status == 200)
        return 0;
    fprintf(stderr, "http_curl: %ld, %s\n", status, curl_easy_strerror(rc));
    return 1;
}

int main(int argc, char **argv)
{
    const char *url = start_server(argc > 1 ? argv[1] : "build/bench");
    curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    int code = measure(url, get);
    curl_easy_cleanup(curl);
    return code;
}
