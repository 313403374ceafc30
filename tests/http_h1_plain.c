/* SPDX-License-Identifier: MIT */
/*
 * http_h1_plain: the tests of http_h1_wire against parsers that were compiled without SSE2
 * (meson.build has their sources and -U__SSE2__), as they are on other processors.
 */
#include "http_h1_wire.c"
