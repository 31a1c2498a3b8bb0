/* The whole C interface, used as a C program would: c_api MODEL.safetensors SCRATCH */
#include <math.h>
#include <sprnn/sprnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define EXPECT(condition)                                                                     \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
              sprnn_last_error());                                                            \
      ++failures;                                                                             \
    }                                                                                         \
  } while (0)

#define REQUIRE_OK(call)                                                                            \
  do {                                                                                              \
    const int status_ = (call);                                                                     \
    if (status_ != SPRNN_OK) {                                                                      \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, sprnn_status_name(status_), \
              sprnn_last_error());                                                                  \
      exit(1);                                                                                      \
    }                                                                                               \
  } while (0)

enum { steps = 9, batch = 3, input = 12, hidden = 32, layers = 2 };
enum {
  x_size = steps * batch * input,
  y_size = steps * batch * hidden,
  state_size = layers * batch * hidden
};

static float x[x_size], y[y_size], y_again[y_size], h[state_size], c[state_size], h_again[state_size];

static int same(const float* a, const float* b, size_t count) { return memcmp(a, b, count * sizeof *a) == 0; }

static int close_to(const float* a, const float* b, size_t count) {
  size_t i;
  for (i = 0; i < count; ++i) {
    if (!(fabs((double)a[i] - (double)b[i]) <= 1e-6)) return 0;
  }
  return 1;
}

static void check_shape(const sprnn_shape* shape) {
  EXPECT(strcmp(shape->cell, "lstm") == 0);
  EXPECT(strcmp(shape->dtype, "fp32") == 0);
  EXPECT(shape->input_size == input);
  EXPECT(shape->hidden_size == hidden);
  EXPECT(shape->projection_size == 0);
  EXPECT(shape->state_size == hidden);
  EXPECT(shape->num_layers == layers);
  EXPECT(shape->num_directions == 1);
  EXPECT(shape->output_size == hidden);
  EXPECT(shape->has_cell_state == 1);
}

static void check_names(void) {
  char version[32];
  sprintf(version, "%d.%d.%d", SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH);
  EXPECT(strcmp(sprnn_version(), version) == 0);
  EXPECT(strcmp(sprnn_status_name(SPRNN_OK), "ok") == 0);
  EXPECT(strcmp(sprnn_status_name(SPRNN_INTERNAL), "internal error") == 0);
  EXPECT(strcmp(sprnn_status_name(-1), "unknown status") == 0);
  EXPECT(strcmp(sprnn_last_error(), "") == 0);
}

static void check_pruning(sprnn_model* model) {
  const double density = 0.5, by_layer[layers] = {0.25, 1.0};
  sprnn_prune_report report;
  EXPECT(sprnn_model_prune_report(model, 0, &report) == SPRNN_INVALID_ARGUMENT);
  REQUIRE_OK(sprnn_model_prune(model, "unstructured", by_layer, layers, &density, 1));
  REQUIRE_OK(sprnn_model_prune_report(model, 1, &report));
  EXPECT(strcmp(report.name, "weight_hh_l0") == 0);
  EXPECT(report.rows == 4 * hidden && report.cols == hidden);
  EXPECT(report.wanted == 0.25 && report.reached == 0.25);
  EXPECT(report.min_row >= 0 && report.min_row < report.max_row && report.max_row <= hidden);
  EXPECT(report.norm_lost > 0.0 && report.norm_lost < 1.0);
  REQUIRE_OK(sprnn_model_prune_report(model, 3, &report));
  EXPECT(strcmp(report.name, "weight_hh_l1") == 0 && report.reached == 1.0);
  EXPECT(sprnn_model_prune_report(model, 4, &report) == SPRNN_INVALID_ARGUMENT);
}

static void check_running(const sprnn_packed* packed) {
  const int64_t lengths[batch] = {9, 4, 1};
  sprnn_session* session;
  sprnn_session_info info;
  int t, b, i;
  REQUIRE_OK(sprnn_session_create(packed, "auto", batch, 1, NULL, &session));
  REQUIRE_OK(sprnn_session_get_info(session, &info));
  EXPECT(strlen(info.engine) > 0 && info.isa != NULL);
  EXPECT(info.batch == batch && info.threads >= 1);

  /* One call of nine steps, nine of one, from the same zeros: the same bits. */
  REQUIRE_OK(sprnn_session_run(session, steps, x, y, NULL, 0));
  REQUIRE_OK(sprnn_session_get_state(session, SPRNN_ALL_ENTRIES, h, state_size, c, state_size));
  EXPECT(same(h + (layers - 1) * batch * hidden, y + (steps - 1) * batch * hidden, batch * hidden));
  REQUIRE_OK(sprnn_session_reset(session, SPRNN_ALL_ENTRIES));
  for (t = 0; t < steps; ++t) {
    REQUIRE_OK(sprnn_session_run(session, 1, x + t * batch * input, y_again + t * batch * hidden, NULL, 0));
  }
  EXPECT(same(y, y_again, y_size));

  /* A state that is read and set again continues alike (the reference keeps more digits than it gives out).
   */
  REQUIRE_OK(sprnn_session_run(session, 1, x, y, NULL, 0));
  REQUIRE_OK(sprnn_session_set_state(session, SPRNN_ALL_ENTRIES, h, state_size, c, state_size));
  REQUIRE_OK(sprnn_session_run(session, 1, x, y_again, NULL, 0));
  EXPECT(close_to(y, y_again, batch * hidden));

  /* One entry of the batch. */
  REQUIRE_OK(sprnn_session_get_state(session, 1, h, layers * hidden, c, layers * hidden));
  REQUIRE_OK(sprnn_session_reset(session, 1));
  EXPECT(sprnn_session_get_state(session, 1, h_again, layers * hidden, NULL, 0) == SPRNN_INVALID_ARGUMENT);
  REQUIRE_OK(sprnn_session_set_state(session, 1, h, layers * hidden, c, layers * hidden));
  REQUIRE_OK(sprnn_session_get_state(session, 1, h_again, layers * hidden, c, layers * hidden));
  EXPECT(same(h, h_again, layers * hidden));

  /* Lengths: outputs past the end are zero. Batch first: the same numbers, transposed. */
  REQUIRE_OK(sprnn_session_reset(session, SPRNN_ALL_ENTRIES));
  REQUIRE_OK(sprnn_session_run(session, steps, x, y, lengths, 0));
  for (t = 0; t < steps; ++t) {
    for (b = 0; b < batch; ++b) {
      const float* row = y + (t * batch + b) * hidden;
      int zeros = 0;
      for (i = 0; i < hidden; ++i) zeros += row[i] == 0.0F;
      EXPECT((zeros == hidden) == (t >= lengths[b]));
    }
  }
  {
    static float x_first[x_size];
    for (t = 0; t < steps; ++t) {
      for (b = 0; b < batch; ++b) {
        memcpy(x_first + (b * steps + t) * input, x + (t * batch + b) * input, input * sizeof *x);
      }
    }
    REQUIRE_OK(sprnn_session_reset(session, SPRNN_ALL_ENTRIES));
    REQUIRE_OK(sprnn_session_run(session, steps, x_first, y_again, lengths, 1));
    for (t = 0; t < steps; ++t) {
      for (b = 0; b < batch; ++b) {
        EXPECT(same(y_again + (b * steps + t) * hidden, y + (t * batch + b) * hidden, hidden));
      }
    }
  }
  sprnn_session_destroy(session);
}

int main(int argc, char** argv) {
  sprnn_model *model, *saved;
  sprnn_packed *packed, *loaded;
  sprnn_session *one, *two;
  sprnn_shape shape;
  char path[2000];
  const double tenth = 0.1;
  int i;
  if (argc != 3 || strlen(argv[2]) > 1900) return 2;
  for (i = 0; i < x_size; ++i) x[i] = (float)sin(0.37 * i);

  check_names();
  REQUIRE_OK(sprnn_model_load(argv[1], "rnn.", "lstm", "fp32", &model));
  REQUIRE_OK(sprnn_model_shape(model, &shape));
  check_shape(&shape);
  check_pruning(model);

  REQUIRE_OK(sprnn_pack(model, "cpu", batch, &packed));
  REQUIRE_OK(sprnn_packed_shape(packed, &shape));
  check_shape(&shape);
  check_running(packed);

  /* Both kinds of file, back again: sessions of all of them give the same bits. */
  sprintf(path, "%s.safetensors", argv[2]);
  REQUIRE_OK(sprnn_model_save(model, path));
  REQUIRE_OK(sprnn_model_load(path, NULL, NULL, NULL, &saved));
  remove(path);
  sprintf(path, "%s.sprnn", argv[2]);
  REQUIRE_OK(sprnn_packed_save(packed, path));
  REQUIRE_OK(sprnn_packed_load(path, &loaded));
  remove(path);
  REQUIRE_OK(sprnn_session_create(packed, NULL, batch, 1, NULL, &one));
  REQUIRE_OK(sprnn_session_create(loaded, NULL, batch, 1, NULL, &two));
  sprnn_packed_destroy(loaded); /* its session lives on */
  REQUIRE_OK(sprnn_session_run(one, steps, x, y, NULL, 0));
  REQUIRE_OK(sprnn_session_run(two, steps, x, y_again, NULL, 0));
  EXPECT(same(y, y_again, y_size));
  REQUIRE_OK(sprnn_pack(saved, NULL, batch, &loaded));
  REQUIRE_OK(sprnn_session_set_weights(two, loaded));
  REQUIRE_OK(sprnn_session_reset(two, SPRNN_ALL_ENTRIES));
  REQUIRE_OK(sprnn_session_run(two, steps, x, y_again, NULL, 0));
  EXPECT(same(y, y_again, y_size));

  /* Fewer weights, for which another plan might be made: under the same one the session takes them. */
  sprnn_packed_destroy(loaded);
  REQUIRE_OK(sprnn_model_prune(saved, "unstructured", &tenth, 1, &tenth, 1));
  REQUIRE_OK(sprnn_pack_like(saved, packed, &loaded));
  REQUIRE_OK(sprnn_session_set_weights(two, loaded));
  REQUIRE_OK(sprnn_session_reset(two, SPRNN_ALL_ENTRIES));
  REQUIRE_OK(sprnn_session_run(two, steps, x, y_again, NULL, 0));
  EXPECT(!same(y, y_again, y_size));
  sprnn_session_destroy(one);
  REQUIRE_OK(sprnn_session_create(loaded, NULL, batch, 1, NULL, &one));
  REQUIRE_OK(sprnn_session_run(one, steps, x, y, NULL, 0));
  EXPECT(same(y, y_again, y_size));

  sprnn_session_destroy(one);
  sprnn_session_destroy(two);
  sprnn_packed_destroy(loaded);
  sprnn_packed_destroy(packed);
  sprnn_model_destroy(saved);
  sprnn_model_destroy(model);
  if (failures > 0) fprintf(stderr, "%d failures\n", failures);
  return failures > 0;
}
