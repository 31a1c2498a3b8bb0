// Everything: checkpoint -> prune -> plan -> pack -> run.
#pragma once

#include "sprnn/cell.hpp"
#include "sprnn/checkpoint.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/device.hpp"
#include "sprnn/dtype.hpp"
#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"
#include "sprnn/model.hpp"
#include "sprnn/npy.hpp"
#include "sprnn/pack.hpp"
#include "sprnn/plan.hpp"
#include "sprnn/prune.hpp"
#include "sprnn/temporary_files.hpp"
#include "sprnn/verify.hpp"
#include "sprnn/version.hpp"
