# What `cmake --install` installs: the library, its headers, the command line, and what find_package and
# pkg-config need. Symbols of the shared library keep their default visibility: the C++ interface is whole
# classes, and an export mark on each of them would buy nothing but noise.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(programs)
if(TARGET sprnn_cli)
  set(programs sprnn_cli)
  # Finds a shared library in the installed tree, wherever that is.
  set_target_properties(sprnn_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()
install(TARGETS sprnn ${programs} EXPORT sprnnTargets)
install(DIRECTORY include/sprnn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(cmake_folder ${CMAKE_INSTALL_LIBDIR}/cmake/sprnn)
get_target_property(library_type sprnn TYPE)
configure_package_config_file(cmake/sprnnConfig.cmake.in sprnnConfig.cmake INSTALL_DESTINATION ${cmake_folder})
write_basic_package_version_file(sprnnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT sprnnTargets NAMESPACE sprnn:: DESTINATION ${cmake_folder})
install(FILES ${PROJECT_BINARY_DIR}/sprnnConfig.cmake ${PROJECT_BINARY_DIR}/sprnnConfigVersion.cmake
        DESTINATION ${cmake_folder})

# Who links to libsprnn.so needs nothing more; who links to libsprnn.a asks with `pkg-config --static`.
set(pc_requires_private)
set(pc_libs_private)
if(library_type STREQUAL STATIC_LIBRARY)
  set(pc_requires_private "fmt libhwy nettle")
  set(pc_libs_private "-pthread -lstdc++ -lm")
endif()
file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/sprnn.pc.in sprnn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sprnn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
