/* The nine C functions that TensorRT's Python bindings take from its libraries. None of them is called by what is tested
   here, so each gives back nothing. One source, three libraries: -DNVINFER, -DNVINFER_PLUGIN, -DNVONNXPARSER. */
#include <stddef.h>

#define NOTHING(name) void *name(void) { return NULL; }

#ifdef NVINFER
NOTHING(createInferBuilder_INTERNAL)
NOTHING(createInferRefitter_INTERNAL)
NOTHING(createInferRuntime_INTERNAL)
NOTHING(getBuilderPluginRegistry)
NOTHING(getPluginRegistry)
#endif
#ifdef NVINFER_PLUGIN
NOTHING(initLibNvInferPlugins)
#endif
#ifdef NVONNXPARSER
NOTHING(createNvOnnxParser_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL)
NOTHING(getNvOnnxParserVersion)
#endif
