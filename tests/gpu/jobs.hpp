// Runs cases in processes of their own, several at once: a case is mostly one CPU core's work.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "gpu/case.hpp"

namespace sprnn::test {

using Report = std::function<void(std::size_t index, const CaseResult& result, double seconds)>;

// Reports every case once, as they end. In up to `jobs` processes, or, if it is 0, in this one.
// A process takes the next case when it is done with one; those that are `alone` come last, one after the
// other. One that dies over a case, or is not done after `limit` seconds, has failed that case. Forks: with
// `jobs` above 0 this process must have neither initialised CUDA nor other threads.
void run_cases(const std::vector<Case>& cases, int jobs, double limit, const Report& report);

}  // namespace sprnn::test
