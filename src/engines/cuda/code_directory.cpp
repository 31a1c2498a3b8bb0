#include "engines/cuda/code_directory.hpp"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/atomic_file.hpp"
#include "base/json.hpp"
#include "base/sha256.hpp"
#include "engines/cuda/compiler.hpp"
#include "plan/plan_json.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"
#include "sprnn/version.hpp"

namespace sprnn {

namespace cuda {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* manifest_name = "manifest.json";
constexpr int manifest_format = 1;
constexpr std::size_t max_manifest_bytes = std::size_t{16} << 20;
constexpr std::size_t max_image_bytes = std::size_t{64} << 20;
constexpr const char* again = "run `sprnn compile` again for this model";

std::string to_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_file(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

// The name of a file in the directory itself, not of one elsewhere.
CodeFile file_from_json(const json& object) {
  CodeFile file{value_at<std::string>(object, "file"), value_at<std::string>(object, "sha256")};
  if (file.name.empty() || file.name.front() == '.' || file.name.find('/') != std::string::npos) {
    throw Error(ErrorCode::format,
                fmt::format("file {}, expected a name without a folder", quote(file.name)));
  }
  return file;
}

std::vector<CodeEntry> load_manifest(const fs::path& path) try {
  return read_manifest(to_text(read_file(path, max_manifest_bytes)));
} catch (const Error& error) {
  if (error.code() != ErrorCode::format) throw;
  throw Error(ErrorCode::format, fmt::format("{}: {}; {}", path.string(), error.what(), again));
}

class CodeDirectory {
 public:
  explicit CodeDirectory(const fs::path& path) : path_(path), entries_(load_manifest(path / manifest_name)) {}

  [[nodiscard]] std::string image(const KernelRequest& request, int capability) const {
    const std::string source = source_hash(request);
    const CodeEntry* newest =
        nullptr;  // that this GPU can run: machine code is for one architecture, PTX for newer too
    bool other_source = false;
    for (const CodeEntry& entry : entries_) {
      if (entry.kernel != request.kernel) continue;
      if (entry.source != source) {
        other_source = true;
      } else if (entry.capability <= capability &&
                 (newest == nullptr || entry.capability > newest->capability)) {
        newest = &entry;
      }
    }
    if (newest != nullptr) return checked(newest->capability == capability ? newest->cubin : newest->ptx);
    throw Error(
        ErrorCode::unsupported,
        fmt::format("{}: no code of {} for this plan (source SHA-256 {}) on sm_{}{}: {}", path_.string(),
                    request.kernel, source, capability,
                    other_source ? "; what it has is of another plan or another version of sprnn" : "",
                    again));
  }

 private:
  [[nodiscard]] std::string checked(const CodeFile& file) const {
    const fs::path path = path_ / file.name;
    std::string image = to_text(read_file(path, max_image_bytes));
    if (const std::string hash = sha256(image); hash != file.hash) {
      throw Error(ErrorCode::format,
                  fmt::format("{}: its SHA-256 is {}, {} says {}: it was changed or is damaged; {}",
                              path.string(), hash, manifest_name, file.hash, again));
    }
    return image;
  }

  fs::path path_;
  std::vector<CodeEntry> entries_;
};

}  // namespace

std::vector<CodeEntry> read_manifest(std::string_view text) try {
  const json manifest = parse_json(text);
  if (const int format = value_at<int>(manifest, "format"); format != manifest_format) {
    throw Error(ErrorCode::format, fmt::format("format {}, expected {}", format, manifest_format));
  }
  std::vector<CodeEntry> entries;
  for (const json& object : manifest.at("kernels")) {
    entries.push_back({value_at<std::string>(object, "kernel"),
                       value_at<std::string>(object, "source_sha256"),
                       value_at<int>(object, "compute_capability"), file_from_json(object.at("cubin")),
                       file_from_json(object.at("ptx"))});
  }
  return entries;
} catch (const json::exception& error) {
  throw Error(ErrorCode::format, error.what());
}

CodeSource code_directory(const fs::path& directory) {
  return [code = std::make_shared<const CodeDirectory>(directory)](
             const KernelRequest& request, int capability) { return code->image(request, capability); };
}

}  // namespace cuda

std::vector<CompiledKernel> compile_code(const Plan& plan, int compute_capability,
                                         const std::filesystem::path& directory) {
  for (const DirectionPlan& direction : plan.directions) {
    if (direction.is_gpu()) continue;
    throw Error(
        ErrorCode::unsupported,
        fmt::format(
            "the plan is for {}, which runs no compiled code: pack it with --target h100 or another GPU",
            plan.device.name));
  }
  if (std::string missing = cuda::missing_cell(plan.problem); !missing.empty()) {
    throw Error(ErrorCode::unsupported, "engine cuda " + missing);
  }
  check(plan);
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw Error(ErrorCode::io, fmt::format("{}: {}", directory.string(), error.message()));

  std::vector<CompiledKernel> report;
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const cuda::KernelRequest& request : cuda::kernels_of(plan, compute_capability)) {
    const cuda::Compiled code = cuda::compile(request.kernel, request.plan_source, compute_capability);
    const std::string source = cuda::source_hash(request);
    const std::string stem = fmt::format("{}-{}-sm_{}", request.kernel.substr(0, request.kernel.find('.')),
                                         source.substr(0, 16), compute_capability);
    const CompiledKernel kernel{stem + ".cubin", stem + ".ptx", code.registers, code.stack_bytes,
                                code.spill_bytes};
    cuda::write_file(directory / kernel.cubin, code.cubin);
    cuda::write_file(directory / kernel.ptx, code.ptx);
    kernels.push_back({{"kernel", request.kernel},
                       {"compute_capability", compute_capability},
                       {"source_sha256", source},
                       {"cubin", {{"file", kernel.cubin}, {"sha256", sha256(code.cubin)}}},
                       {"ptx", {{"file", kernel.ptx}, {"sha256", sha256(code.ptx)}}},
                       {"registers", kernel.registers},
                       {"stack_bytes", kernel.stack_bytes},
                       {"spill_bytes", kernel.spill_bytes}});
    report.push_back(kernel);
  }
  // Last: a directory with a manifest is complete.
  const nlohmann::ordered_json manifest{
      {"format", cuda::manifest_format},
      {"sprnn", fmt::format("{}.{}.{}", SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH)},
      {"compiler", cuda::compiler_version()},
      {"kernels", std::move(kernels)}};
  cuda::write_file(directory / cuda::manifest_name, manifest.dump(2) + "\n");
  return report;
}

}  // namespace sprnn
