// The README's example: a checkpoint, pruned to 10 %, run for 100 steps. Usage: quickstart MODEL.safetensors
// [README: the lines between the marks are in README.md, word for word; a test compares them.]
#include <sprnn/sprnn.hpp>

#include <iostream>
#include <memory>
#include <vector>

int main(int argc, char** argv) try {
  sprnn::Model model = sprnn::read_model(sprnn::load_checkpoint(argc > 1 ? argv[1] : "model.safetensors"));
  sprnn::prune(model, {.pattern = sprnn::parse_pattern("unstructured"), .density = 0.1});
  const sprnn::Plan plan = sprnn::make_plan(sprnn::describe(model, /*batch=*/1), sprnn::this_cpu());
  const auto packed = std::make_shared<const sprnn::Packed>(sprnn::pack(model, plan));
  const auto session = sprnn::find_engine("auto", plan).session(packed, {});
  const std::int64_t steps = 100;
  std::vector<float> x(steps * model.input_size, 0.5F), y(steps * model.output_size());
  session->run({.steps = steps, .x = x.data(), .y = y.data()});
  std::cout << session->engine() << ": " << y.back() << '\n';
} catch (const sprnn::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
// [README]
