// From a file to a model: MODEL is a checkpoint or a packed file, told by its content.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cli/arguments.hpp"

namespace sprnn::cli {

// What MODEL is. Error(io) for what is no file: its content is looked at before it is read, and a pipe can
// be read only once.
[[nodiscard]] bool is_packed(const std::filesystem::path& path);

// The prefix of the module that find_module finds; errors with the file's name before them.
[[nodiscard]] std::string choose_module(const Checkpoint& checkpoint,
                                        const std::optional<std::string>& wanted,
                                        const std::filesystem::path& path);

// read_model, whose errors speak of tensors and not of files, with the file's name before its errors.
[[nodiscard]] Model read_module(const Checkpoint& checkpoint, const ReadOptions& options,
                                const std::filesystem::path& path);

// A packed file as it is. Options that contradict what is packed in it are refused.
[[nodiscard]] std::shared_ptr<const Packed> load_packed_model(const ModelArguments& arguments);

// Dense weights, of either kind of file.
[[nodiscard]] Model load_model(const ModelArguments& arguments);

// Whether find_device knows it by name, so that it is no description's file.
[[nodiscard]] bool is_device_name(std::string_view name);

// find_device; a CPU gets the threads that were asked for, unless that is 0.
[[nodiscard]] Device find_target(const std::string& name, int threads);

// What a model is planned for when --target was not given: what choose_target says, with its reason.
[[nodiscard]] Target default_target(const std::string& engine, const Problem& problem, int threads);

// Ready for an engine: a checkpoint is planned and packed for the engine's target, a packed file must
// have been packed for --target where that is given.
[[nodiscard]] std::shared_ptr<const Packed> load_for_engine(const ModelArguments& arguments,
                                                            const EngineArguments& engine, int batch);

// The same for a model in memory.
[[nodiscard]] std::shared_ptr<const Packed> pack_for_engine(const Model& model, const EngineArguments& engine,
                                                            int batch);

}  // namespace sprnn::cli
