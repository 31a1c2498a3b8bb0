#pragma once

namespace sprnn::cli {

// Standard streams that the caller closed are replaced, so that no output file gets their number.
void keep_standard_streams();

// Ctrl-C and its like remove the temporary files, then end the process as the signal would have.
void remove_temporaries_on_signals();

}  // namespace sprnn::cli
