// sprnn's errors as Python exceptions; the classes themselves are in sprnn/errors.py.
#pragma once

#include <nanobind/nanobind.h>

#include <filesystem>
#include <string>

#include "sprnn/error.hpp"

namespace sprnn::python {

// An argument of the wrong kind: no array, or an array of the wrong dtype or device. A TypeError.
class ArgumentTypeError : public Error {
 public:
  explicit ArgumentTypeError(const std::string& message) : Error(ErrorCode::invalid_argument, message) {}
};

// A session that another thread is running. A RuntimeError.
class BusyError : public Error {
 public:
  explicit BusyError(const std::string& message) : Error(ErrorCode::invalid_argument, message) {}
};

// A file that is not there. A FileNotFoundError.
class MissingFileError : public Error {
 public:
  explicit MissingFileError(const std::filesystem::path& path);
};

// Throws MissingFileError unless there is something at `path`.
void check_exists(const std::filesystem::path& path);

// From now on every Error that leaves a function of the module is its Python exception.
void translate_errors();

}  // namespace sprnn::python
