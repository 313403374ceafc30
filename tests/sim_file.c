/* SPDX-License-Identifier: MIT */
#include "sim_scene.h"
HARNESS_MAIN("sim_file")
