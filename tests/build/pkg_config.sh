#!/bin/sh
# Builds both examples with what pkg-config says about an installed sprnn, and runs them.
# pkg_config.sh PKGCONFIG_FOLDER EXAMPLES OUT MODEL "C compiler" "C++ compiler"
set -eu
export PKG_CONFIG_PATH="$1"
examples=$2 out=$3 model=$4 cc=$5 cxx=$6
flags=$(pkg-config --cflags sprnn)
libs=$(pkg-config --static --libs sprnn)
path=$(pkg-config --variable=libdir sprnn)
# The words of the compilers and flags are meant to be split.
# shellcheck disable=SC2086
{
  $cc -std=c99 $flags "$examples/c/stream.c" -o "$out/pkg_config_c" $libs -lm "-Wl,-rpath,$path"
  $cxx -std=c++20 $flags "$examples/cpp/quickstart.cpp" -o "$out/pkg_config_cpp" $libs "-Wl,-rpath,$path"
}
"$out/pkg_config_c" "$model"
"$out/pkg_config_cpp" "$model"
