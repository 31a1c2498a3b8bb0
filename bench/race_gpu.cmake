# race_gpu: the race on a GPU. It is built where a CUDA toolkit, cuSPARSE and cuDNN are found, and nothing else
# needs them.
include(CheckLanguage)
check_language(CUDA)
find_package(CUDAToolkit QUIET)
find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
if(NOT CMAKE_CUDA_COMPILER OR NOT TARGET CUDA::cublasLt OR NOT TARGET CUDA::cusparse OR NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
  message(STATUS "nvcc, cuBLASLt, cuSPARSE or cuDNN not found: the race on a GPU, race_gpu, is not built")
  return()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)
endif()
enable_language(CUDA)
add_library(race_gpu_cell STATIC peers/gpu/cell.cu)
set_target_properties(race_gpu_cell PROPERTIES CUDA_STANDARD 17)  # CMake 3.25 knows no later one of nvcc 13
target_include_directories(race_gpu_cell PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(race_gpu_cell PRIVATE fmt::fmt)

execute_process(COMMAND git describe --always --dirty WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
add_executable(race_gpu race_gpu.cpp race_case.cpp peers/gpu/cudnn.cpp peers/gpu/dense_gemm.cpp peers/gpu/matmul.cpp
                        peers/gpu/peer.cpp peers/gpu/sparse_matrix.cpp peers/gpu/stepwise.cpp)
target_compile_definitions(race_gpu PRIVATE SPRNN_BENCH_FOLDER="${CMAKE_CURRENT_SOURCE_DIR}" SPRNN_COMMIT="${commit}")
target_include_directories(race_gpu PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
target_include_directories(race_gpu SYSTEM PRIVATE ${CUDNN_INCLUDE_DIR})
target_link_libraries(race_gpu PRIVATE sprnn sprnn_bench race_gpu_cell sprnn_warnings CLI11::CLI11 fmt::fmt Threads::Threads
                                       CUDA::cudart_static CUDA::cublasLt CUDA::cusparse ${CUDNN_LIBRARY})
sprnn_compile_quickly(race_gpu)
