#!/bin/sh
# SPDX-License-Identifier: MIT
# static_library.sh LD OBJCOPY AR OUTPUT INPUT: makes of an archive one whose only member is one
# relocatable object with its hidden symbols made local, so that no private name reaches a program.
set -eu
ld=$1 objcopy=$2 ar=$3 output=$4 input=$5

object=$output.p/pier.o
mkdir -p "$output.p"
"$ld" -r --whole-archive "$input" -o "$object"
"$objcopy" --localize-hidden "$object"
rm -f "$output"
"$ar" rcs "$output" "$object"
