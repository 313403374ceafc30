/* SPDX-License-Identifier: MIT */
/*
 * pier/pier.h - all of Pier's core library: include this one.
 */
#ifndef PIER_PIER_H
#define PIER_PIER_H

#include <pier/base.h>
#include <pier/http.h>
#include <pier/net.h>
#include <pier/sim.h>
#include <pier/task.h>
#include <pier/text.h>
#include <pier/work.h>

#endif
