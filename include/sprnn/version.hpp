// The version of the library; the only place where it is written down (CMake reads it from here).
#pragma once

#define SPRNN_VERSION_MAJOR 0
#define SPRNN_VERSION_MINOR 1
#define SPRNN_VERSION_PATCH 0
