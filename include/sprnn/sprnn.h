/* The C interface of sprnn: checkpoint -> prune -> pack -> session. C99, or any C++.
 *
 * Status. Functions that can fail return an int: SPRNN_OK or another sprnn_status. A message for people is
 * then in sprnn_last_error(). A function that refuses its arguments changes nothing, and one that fails sets
 * its output handle to NULL. NULL where it is not allowed is SPRNN_INVALID_ARGUMENT. No C++ exception ever
 * leaves, and nothing is printed. SPRNN_OUT_OF_MEMORY (the host's, or the GPU's) can come from all of them;
 * the other errors are listed with each.
 *
 * Handles. What a function hands out is the caller's to destroy; destroying NULL does nothing. Strings that
 * a handle gives out live as long as the handle. All arguments are copied or read before the function
 * returns: nothing of the caller's is kept.
 *
 * Threads. Different handles are independent. One sprnn_packed may serve any number of threads at once. A
 * model or a session is used by one thread at a time.
 *
 * Arrays are float or int64_t, dense, in C order. Letters: T timesteps, B batch, I input size, H hidden
 * size, P projection size (0: none), R = P or H: what one direction feeds back, D directions (1 or 2),
 * L layers. Equations, gate order and parameter names are those of torch.nn.RNN, GRU and LSTM.
 */
#ifndef SPRNN_SPRNN_H
#define SPRNN_SPRNN_H

#include <stddef.h>
#include <stdint.h>

#include "sprnn/version.hpp" /* SPRNN_VERSION_MAJOR, _MINOR, _PATCH: macros only */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ---------------------------------------------------------------------------------------- */

typedef enum sprnn_status {
  SPRNN_OK = 0,
  SPRNN_INVALID_ARGUMENT = 1, /* a value, shape, option or name that the caller passed */
  SPRNN_FORMAT = 2,           /* a file that does not say what it should */
  SPRNN_IO = 3,               /* the operating system refused: missing, unwritable, disk full */
  SPRNN_UNSUPPORTED = 4,      /* a valid request that the chosen engine does not have */
  SPRNN_DEVICE = 5,           /* no device, or the device failed */
  SPRNN_DEADLINE = 6,         /* a run was given up because it took too long */
  SPRNN_OUT_OF_MEMORY = 7,
  SPRNN_INTERRUPTED = 8, /* of the C++ interface's callbacks: no function here returns it */
  SPRNN_INTERNAL = 9     /* a fault of sprnn itself */
} sprnn_status;

/* "ok", "invalid argument", ...; "unknown status" for any other number. Static. */
const char* sprnn_status_name(int status);

/* Why the latest function that failed on this thread failed; "" if none has. Valid until the next failure on
 * this thread. */
const char* sprnn_last_error(void);

/* The version of the library that runs, e.g. "0.1.0" (the macros give that of the header). Static. */
const char* sprnn_version(void);

/* ---- Models ---------------------------------------------------------------------------------------- */

typedef struct sprnn_model sprnn_model;     /* a checkpoint, and the recurrent module chosen in it */
typedef struct sprnn_packed sprnn_packed;   /* weights laid out for a device; immutable */
typedef struct sprnn_session sprnn_session; /* a packed model ready to run, with its state */

/* Sizes, from which those of all arrays follow. */
typedef struct sprnn_shape {
  const char* cell;        /* "tanh", "relu", "gru", "lstm"; a variant carries its options after the name */
  const char* dtype;       /* of weights and h: "fp32", "fp16", "bf16" */
  int64_t input_size;      /* I */
  int64_t hidden_size;     /* H */
  int64_t projection_size; /* P, 0: none */
  int64_t state_size;      /* R = P or H */
  int64_t num_layers;      /* L */
  int64_t num_directions;  /* D: 2 if bidirectional */
  int64_t output_size;     /* D * R */
  int has_cell_state;      /* 1 for lstm: a state is h and c; 0: h alone */
} sprnn_shape;

/* Loads a recurrent module of a safetensors checkpoint with PyTorch's names.
 *   path    the file.
 *   prefix  which module, as in "encoder.rnn."; NULL: the only one (several are an error that lists them).
 *   cell    "tanh", "relu", "gru" or "lstm"; NULL: told from the shapes (relu then counts as tanh).
 *   dtype   "fp32", "fp16" or "bf16", to which the weights are rounded; NULL: the checkpoint's.
 *   model   receives the handle; sprnn_model_destroy() it.
 * Errors: SPRNN_IO, SPRNN_FORMAT (no safetensors file, no recurrent module in it, or one that lacks a tensor,
 * has an ill-shaped one or a weight that is not finite), SPRNN_INVALID_ARGUMENT (a prefix or cell that does
 * not suit the file, a weight that overflows the dtype). */
int sprnn_model_load(const char* path, const char* prefix, const char* cell, const char* dtype,
                     sprnn_model** model);

/* Writes the checkpoint with this model's weights in it, in the file's own names and dtypes; a pair
 * NAME_orig and NAME_mask becomes the one tensor NAME that it stands for. All other tensors and the metadata
 * are written as they were read. `path` may be the file that was loaded: it is replaced as a whole, or not at
 * all. Errors: SPRNN_IO, SPRNN_INVALID_ARGUMENT (a weight that the file's dtype cannot hold: the model was
 * loaded with another dtype than the file's). */
int sprnn_model_save(const sprnn_model* model, const char* path);

int sprnn_model_shape(const sprnn_model* model, sprnn_shape* shape);

void sprnn_model_destroy(sprnn_model* model);

/* ---- Pruning --------------------------------------------------------------------------------------- */

/* Prunes the recurrent matrices W_hh by magnitude, and if asked the input matrices W_ih, in place.
 *   pattern        "unstructured", "row", "global", "block:RxC", "unit:UxC" or "N:M" (sprnn/prune.hpp).
 *   density        of W_hh, in [0, 1]: one number for all layers, or one for each layer.
 *   density_count  1 or L; 0: leave W_hh dense (or, with N:M, which says it, the pattern's own density).
 *   input_density  likewise of W_ih; input_density_count 0: W_ih is left alone.
 * Errors: SPRNN_INVALID_ARGUMENT. */
int sprnn_model_prune(sprnn_model* model, const char* pattern, const double* density, size_t density_count,
                      const double* input_density, size_t input_density_count);

/* What the latest sprnn_model_prune did to one matrix. */
typedef struct sprnn_prune_report {
  const char* name; /* "weight_hh_l0"; valid until the next prune of the model */
  int64_t rows;
  int64_t cols;
  double wanted;    /* density asked for */
  double reached;   /* stored non-zeros / entries; entries that were zero before are not stored */
  int64_t min_row;  /* non-zeros of the row with the fewest */
  int64_t max_row;  /* and with the most */
  double norm_lost; /* ||W - pruned W|| / ||W||, Frobenius */
} sprnn_prune_report;

/* The report of pruned matrix `index`: layer by layer, forward before reverse, W_ih before W_hh.
 * SPRNN_INVALID_ARGUMENT past the last one (0 before any pruning). */
int sprnn_model_prune_report(const sprnn_model* model, size_t index, sprnn_prune_report* report);

/* ---- Packing --------------------------------------------------------------------------------------- */

/* Plans the model for a device and packs its weights for it. The model is not needed afterwards.
 *   target  "cpu", "h100", "h200", "a100", "local" or the path of a JSON device description; NULL: "cpu".
 *   batch   the batch size to plan for; a hint, the packed model runs at any. At least 1.
 *   packed  receives the handle; sprnn_packed_destroy() it.
 * Errors: SPRNN_INVALID_ARGUMENT, SPRNN_UNSUPPORTED (no plan; the message has each reason), SPRNN_FORMAT or
 * SPRNN_IO (the description). A GPU that "local" cannot use is no error: the plan is for the CPU then. */
int sprnn_pack(const sprnn_model* model, const char* target, int batch, sprnn_packed** packed);

/* Packs the model's weights under the plan of `like`, for sprnn_session_set_weights() on its sessions: of a
 * model with the same sizes, cell, biases and dtype whose non-zeros the plan has room for. Errors:
 * SPRNN_INVALID_ARGUMENT (another shape, no room), SPRNN_FORMAT (fp16 weights above 8192 where the plan sums
 * in half precision). */
int sprnn_pack_like(const sprnn_model* model, const sprnn_packed* like, sprnn_packed** packed);

/* Writes a .sprnn file: data only. Replaced as a whole, or not at all. Errors: SPRNN_IO. */
int sprnn_packed_save(const sprnn_packed* packed, const char* path);

/* Reads and validates a .sprnn file. Errors: SPRNN_IO, SPRNN_FORMAT. */
int sprnn_packed_load(const char* path, sprnn_packed** packed);

int sprnn_packed_shape(const sprnn_packed* packed, sprnn_shape* shape);

/* Sessions made from it stay valid. */
void sprnn_packed_destroy(sprnn_packed* packed);

/* ---- Sessions -------------------------------------------------------------------------------------- */

#define SPRNN_ALL_ENTRIES (-1)

/* Makes a session, its state all zeros.
 *   engine   "cuda" (the first GPU), "cpu", "interpreter", "reference" or "auto"; NULL: "auto".
 *   batch    B, sequences side by side, 1 to 4096.
 *   threads  0: as many as the process may use.
 *   isa      of the cpu engine: "avx512", "avx2" or "scalar"; NULL: the best of this processor.
 *   session  receives the handle; sprnn_session_destroy() it.
 * Environment, for cuda: SPRNN_DEADLINE, the seconds that a timestep may wait for another part of the GPU
 * before the run is given up (2); CUDA_VISIBLE_DEVICES, which GPU is the first; SPRNN_CACHE_DIR.
 * Errors: SPRNN_INVALID_ARGUMENT, SPRNN_UNSUPPORTED (the message has the engine's reason), SPRNN_DEVICE. */
int sprnn_session_create(const sprnn_packed* packed, const char* engine, int batch, int threads,
                         const char* isa, sprnn_session** session);

/* What runs. */
typedef struct sprnn_session_info {
  const char* engine; /* "cpu", ... */
  const char* isa;    /* of the cpu engine; "" for others */
  int batch;
  int threads;
} sprnn_session_info;

int sprnn_session_get_info(const sprnn_session* session, sprnn_session_info* info);

/* Runs `steps` timesteps from the session's state, which then is the state after the last.
 *   steps        T, at least 1.
 *   x            [T, B, I], or [B, T, I] if batch_first; rounded to the model's dtype, so that beyond fp16's
 *                65504 it counts as infinite, as h of sprnn_session_set_state() does.
 *   y            [T, B, D*R], or [B, T, D*R] if batch_first; written. Must not overlap x. Steps past the
 *                length of an entry are written as zeros.
 *   lengths      [B], each in 1..T; NULL: all T. Each entry's state ends at its own length.
 *   batch_first  0 or 1.
 * A sequence may come in several calls, with the same bits as in one; a bidirectional model takes whole
 * sequences only, and wants a reset between them (else SPRNN_UNSUPPORTED).
 * After SPRNN_DEADLINE the state is of no one time: until it is set or reset, runs and
 * sprnn_session_get_state are refused with SPRNN_UNSUPPORTED.
 * Errors: SPRNN_INVALID_ARGUMENT, SPRNN_UNSUPPORTED; of engine cuda also SPRNN_DEVICE, SPRNN_DEADLINE. */
int sprnn_session_run(sprnn_session* session, int64_t steps, const float* x, float* y, const int64_t* lengths,
                      int batch_first);

/* Copies the state out, rounded to the model's dtype, or in: then h is rounded to it and c taken as it is,
 * since a session keeps c in fp32.
 *   entry    a batch entry, or SPRNN_ALL_ENTRIES.
 *   h        [L*D, R] for one entry, [L*D, B, R] for all.
 *   c        [L*D, H] or [L*D, B, H]; unless has_cell_state: NULL, with c_count 0.
 *   h_count, c_count  the floats in h and c, as a check.
 * Errors: SPRNN_INVALID_ARGUMENT; of engine cuda also SPRNN_DEVICE. sprnn_session_get_state also has
 * SPRNN_UNSUPPORTED (a run was given up) and SPRNN_DEADLINE (the same, where no call has said so yet). */
int sprnn_session_get_state(const sprnn_session* session, int entry, float* h, size_t h_count, float* c,
                            size_t c_count);
int sprnn_session_set_state(sprnn_session* session, int entry, const float* h, size_t h_count, const float* c,
                            size_t c_count);

/* Zeros the state of a batch entry, or of SPRNN_ALL_ENTRIES. Errors: SPRNN_INVALID_ARGUMENT; of engine cuda
 * also SPRNN_DEVICE. */
int sprnn_session_reset(sprnn_session* session, int entry);

/* Other weights, packed under the same plan (sprnn_pack_like()); the state is kept. If it fails the session
 * keeps its old ones. `packed` may be destroyed afterwards. Errors: SPRNN_INVALID_ARGUMENT (NULL, or another
 * plan); of engine cuda also SPRNN_DEVICE. */
int sprnn_session_set_weights(sprnn_session* session, const sprnn_packed* packed);

void sprnn_session_destroy(sprnn_session* session);

#ifdef __cplusplus
}
#endif

#endif /* SPRNN_SPRNN_H */
