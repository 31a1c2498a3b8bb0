#include "errors.hpp"

#include <fmt/format.h>

#include <string_view>

namespace nb = nanobind;

namespace sprnn::python {

namespace {

void raise(const char* name, const Error& error) {
  const nb::object type = nb::module_::import_("sprnn.errors").attr(name);
  // A path in it need not be UTF-8.
  const std::string_view what = error.what();
  const auto message = nb::steal(PyUnicode_DecodeUTF8(what.data(), std::ssize(what), "backslashreplace"));
  PyErr_SetObject(type.ptr(), message.ptr());
}

const char* class_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "InvalidArgumentError";
    case ErrorCode::format:
      return "FormatError";
    case ErrorCode::io:
      return "FileError";
    case ErrorCode::unsupported:
      return "UnsupportedError";
    case ErrorCode::device:
      return "DeviceError";
    case ErrorCode::deadline:
      return "DeadlineError";
    case ErrorCode::out_of_memory:
      return "OutOfMemoryError";
    case ErrorCode::interrupted:
      return "StoppedError";
    case ErrorCode::internal:
      break;
  }
  return "InternalError";
}

}  // namespace

MissingFileError::MissingFileError(const std::filesystem::path& path)
    : Error(ErrorCode::io, fmt::format("{}: there is no such file", path.string())) {}

void check_exists(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be looked at cannot be read either, and reading says why
  if (std::filesystem::status(path, ignored).type() == std::filesystem::file_type::not_found)
    throw MissingFileError(path);
}

void translate_errors() {
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const ArgumentTypeError& error) {
      raise("ArgumentTypeError", error);
    } catch (const BusyError& error) {
      raise("BusyError", error);
    } catch (const MissingFileError& error) {
      raise("MissingFileError", error);
    } catch (const Error& error) {
      raise(class_of(error.code()), error);
    }
  });
}

}  // namespace sprnn::python
