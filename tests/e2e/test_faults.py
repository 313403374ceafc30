# SPDX-License-Identifier: MIT
"""Whether tests/net_faults.h knows every call that the library makes to the system: one that it
does not know is one whose failure nobody has tried."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # once is enough, and a sanitizer's calls are not the library's

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PIER_BUILD_DIR", ROOT / "build"))

# Neither system calls nor requests for memory, or always successful where the library uses them.
HARMLESS = set("""
    _GLOBAL_OFFSET_TABLE_ bcmp __ctype_b_loc __ctype_tolower_loc __errno_location __isoc99_sscanf __sched_cpucount abort
    environ fileno flockfile funlockfile gai_strerror getenv getpid if_indextoname in6addr_any
    in6addr_loopback inet_ntop inet_pton memchr memcmp memcpy memmem memmove mempcpy memset
    pthread_attr_destroy pthread_attr_setdetachstate pthread_attr_setstacksize
    pthread_cond_broadcast pthread_cond_destroy pthread_cond_init pthread_cond_signal pthread_join
    pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock pthread_once
    pthread_sigmask sched_yield secure_getenv sigabbrev_np sigaction sigaddset sigdelset sigemptyset sigfillset
    sigismember sigpending snprintf stderr strchr strchrnul strcmp strcspn strerrordesc_np strlen
    strncasecmp strncmp strcasecmp strnlen strrchr strspn strstr strtod strtok_r strtol strtoll
    vsnprintf
    posix_spawn_file_actions_destroy posix_spawn_file_actions_init posix_spawnattr_destroy
    posix_spawnattr_init posix_spawnattr_setflags posix_spawnattr_setpgroup
    posix_spawnattr_setsigdefault posix_spawnattr_setsigmask qsort
    closedir _exit explicit_bzero geteuid getppid raise setpgid sigdescr_np timegm
    mempcpy memrchr strchrnul strncat psl_builtin psl_is_public_suffix
""".split())

# OpenSSL's own: it asks for memory by itself (tests/net_cert.c makes that fail).
OPENSSL = re.compile(r"(ASN1|BIO|BN|CRYPTO|ERR|EVP|GENERAL_NAMES?|OCSP|OPENSSL|OSSL_PARAM|PEM|"
                     r"RAND|SSL|TLS|X509|X509V3)_\w+|"
                     r"[di]2[di]_\w+")

# jansson's: its memory is malloc's (tests/text_json_read.c makes that fail).
JANSSON = re.compile(r"json_\w+")

# What may fail and is left alone, with the reason.
SPARED = {
    "freeaddrinfo": "frees",
    **dict.fromkeys(["freeifaddrs", "EVP_MD_free", "EVP_MD_CTX_free"], "frees"),
    **dict.fromkeys(["EVP_MD_fetch", "EVP_MD_CTX_new", "EVP_DigestInit_ex2", "EVP_DigestUpdate",
                     "EVP_DigestFinal_ex"], "OpenSSL's memory; tests/text_digest.c"),
    "ERR_clear_error": "empties a queue",
    "gethostname": "fails for a buffer that is too small alone, and there is none longer",
    "free": "src/base/sys.c alone, behind pi_free()",
    "malloc": "src/base/sys.c alone, behind pi_alloc()",
    "calloc": "src/base/sys.c alone, behind pi_zalloc()",
    "realloc": "src/base/sys.c alone, behind pi_realloc()",
    **dict.fromkeys(["ares_init_options", "ares_library_init", "ares_process_fd", "ares_query",
                     "ares_set_servers_ports", "ares_set_socket_functions", "ares_timeout"],
                    "c-ares's memory; its calls to the system are the library's"),
    "ares_destroy": "frees",
    **dict.fromkeys(["inflate", "inflateInit2_", "inflateReset", "inflateEnd"],
                    "src/http/gunzip.c: zlib's memory is pi_alloc()'s; tests/http_client.c"),
    **dict.fromkeys(["dlopen", "dlsym"], "src/net/idn.c: without libidn2 a name is refused"),
    "getrandom": "src/base/sys.c: only before the pool is seeded at boot",
    "iconv_open": "tests/text_charset.c", "iconv_close": "frees",
    "iconv": "fails for its input alone; tests/text_charset.c",
    "munmap": "of a whole mapping: nothing could be done, and the mapping alone would stay",
    "mincore": "a figure for people is left out",
    "pthread_atfork": "once a process; without memory forks are the caller's care",
    "pthread_key_create": "once a process; an assertion says so",
    "pthread_setspecific": "the comments beside it say what is left behind then",
    "open_memstream": "libc's memory; tests/task_watch.c",
    "sched_getaffinity": "tests/base_cpu.c", "sysconf": "tests/base_cpu.c",
    "getrlimit64": "src/work/helper.c: workers have the usual stack then",
    "prctl": "src/work/fork.c: a signal that exists is asked for",
    "fopen64": "/proc and /sys: what cannot be read grants everything (tests/base_cpu.c)",
    **dict.fromkeys(["fclose", "fgets", "fprintf", "fputc", "fputs", "fflush", "fflush_unlocked",
                     "fwrite", "fwrite_unlocked"], "the caller's stream, or the log's"),
}


def undefined_symbols():
    """What the library takes from others; src/sim/ is for tests, and no part of a program."""
    result = subprocess.run(["nm", "-A", "-u", "--format=posix", BUILD / "libpier_internal.a"],
                            check=True, stdout=subprocess.PIPE, text=True)
    found = re.findall(r"^.*\[(.*)\]: (\S+) U", result.stdout, re.M)
    assert len(found) > 100
    return {name for member, name in found
            if "src_sim_" not in member and not re.match(r"(pi|pier|io)_", name)}


def wrapped_calls():
    listed = (ROOT / "tests/meson.build").read_text()
    return set(re.findall(r"'(\w+)'", listed.split("fault_calls = [")[1].split("]")[0]))


def test_every_call_of_the_library_is_made_to_fail():
    unknown = undefined_symbols() - wrapped_calls() - HARMLESS - SPARED.keys()
    unknown = {name for name in unknown if not OPENSSL.fullmatch(name) and not JANSSON.fullmatch(name)}
    assert not unknown, f"add to fault_calls in tests/meson.build and to net_faults.h: {unknown}"


def test_every_wrapped_call_is_in_the_header():
    header = (ROOT / "tests/net_faults.h").read_text()
    unwrapped = {name for name in wrapped_calls()
                 if f"__wrap_{name}(" not in header and
                 not re.search(rf"FAULTY\w*\([^()]*\b{name},", header)}
    assert not unwrapped


def test_every_call_by_number_is_known():
    header = (ROOT / "tests/net_faults.h").read_text()
    numbers = {number for path in (ROOT / "src").rglob("*.[ch]")
               for number in re.findall(r"\bSYS_\w+", path.read_text())}
    assert numbers and all(number in header for number in numbers), numbers
