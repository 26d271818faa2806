// Stand-in for CUDA's header of this name: the one type of it that TensorRT's plugin interface mentions.

#pragma once

typedef struct CUstream_st* cudaStream_t;
