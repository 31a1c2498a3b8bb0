// The recurrent product of strategy gather.
#pragma once

#include "gather_rows.cuh"

template <class M>
using Product = GatheredRows<M>;
