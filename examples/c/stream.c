/* Loads a recurrent layer, prunes it, and streams one sequence through it, a timestep at a time.
 *
 *   stream MODEL.safetensors [DENSITY]
 *
 * Build it with a C compiler and `pkg-config --cflags --libs --static sprnn`. */
#include <math.h>
#include <sprnn/sprnn.h>
#include <stdio.h>
#include <stdlib.h>

/* Every call returns a status; the message says what was wrong and what to do. */
static void check(int status) {
  if (status == SPRNN_OK) return;
  fprintf(stderr, "stream: %s: %s\n", sprnn_status_name(status), sprnn_last_error());
  exit(EXIT_FAILURE);
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: stream MODEL.safetensors [DENSITY]\n");
    return EXIT_FAILURE;
  }
  const double density = argc > 2 ? atof(argv[2]) : 0.1;

  /* Checkpoint -> model. NULL leaves a choice to sprnn: the only module, its own cell and dtype. */
  sprnn_model* model = NULL;
  check(sprnn_model_load(argv[1], NULL, NULL, NULL, &model));
  sprnn_shape shape;
  check(sprnn_model_shape(model, &shape));
  printf("%s, %s, input %lld, hidden %lld, layers %lld\n", shape.cell, shape.dtype,
         (long long)shape.input_size, (long long)shape.hidden_size, (long long)shape.num_layers);

  /* Prune W_hh and W_ih of every layer to one density, and see what it cost. */
  check(sprnn_model_prune(model, "unstructured", &density, 1, &density, 1));
  sprnn_prune_report report;
  for (size_t i = 0; sprnn_model_prune_report(model, i, &report) == SPRNN_OK; ++i) {
    printf("%-14s density %.3f, norm lost %.3f\n", report.name, report.reached, report.norm_lost);
  }

  /* Model -> weights laid out for this processor -> a session with its state. Each step has copied what it
   * needs, so the one before can go. */
  sprnn_packed* packed = NULL;
  sprnn_session* session = NULL;
  check(sprnn_pack(model, "cpu", 1, &packed));
  sprnn_model_destroy(model);
  check(sprnn_session_create(packed, NULL, 1, 0, NULL, &session));
  check(sprnn_packed_shape(packed, &shape));
  sprnn_packed_destroy(packed);

  /* One timestep a call: the session keeps h and c in between. */
  float* x = malloc((size_t)shape.input_size * sizeof *x);
  float* y = malloc((size_t)shape.output_size * sizeof *y);
  if (x == NULL || y == NULL) return EXIT_FAILURE;
  for (int t = 0; t < 100; ++t) {
    for (int64_t i = 0; i < shape.input_size; ++i) x[i] = (float)sin(0.1 * (double)(t + i));
    check(sprnn_session_run(session, 1, x, y, NULL, 0));
  }
  printf("output after 100 steps:");
  for (int64_t i = 0; i < shape.output_size && i < 4; ++i) printf(" %+.4f", (double)y[i]);
  printf(" ...\n");

  free(x);
  free(y);
  sprnn_session_destroy(session);
  return EXIT_SUCCESS;
}
