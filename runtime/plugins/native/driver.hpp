// The few functions of the CUDA driver that a launch needs, found at run time: the library links against nothing, so that
// an engine can be inspected where there is no driver. The types are the driver's own, declared here under our names.

#pragma once

#include <array>
#include <cstdint>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace edgesmith {

class Driver {
public:
    using Result = int;  // CUresult; 0 is success
    using Handle = void*;  // CUcontext, CUmodule, CUfunction, CUstream: opaque pointers

    // Opened once a process; throws std::runtime_error when there is no driver, and tries again the next time.
    static Driver& get() {
        // never closed: threads of TensorRT may outlive the objects of a library that is being closed
        static Driver& driver = *new Driver;
        return driver;
    }

    // The kernel in the current context. A PTX text is translated once a context, by whoever comes first; the module
    // belongs to the context and goes when it goes.
    Handle function(std::string const& entry, std::string const& ptx) {
        Handle context = nullptr;
        check(currentContext_(&context), "cuCtxGetCurrent");
        if (context == nullptr) throw std::runtime_error("no CUDA context is current in this thread");
        std::uint64_t number = reinterpret_cast<std::uintptr_t>(context);
        // a later context can have the address of one that is gone, but never its number
        if (contextNumber_ != nullptr) check(contextNumber_(context, &number), "cuCtxGetId");
        std::lock_guard<std::mutex> const lock(mutex_);
        Handle& function = functions_[{number, entry}];
        if (function == nullptr) {
            Handle module = nullptr;
            check(loadModule_(&module, ptx.c_str()), "cuModuleLoadData of " + entry);
            check(getFunction_(&function, module, entry.c_str()), "cuModuleGetFunction of " + entry);
        }
        return function;
    }

    void launch(Handle function, std::array<std::uint32_t, 3> const& grid, std::uint32_t threads, std::uint32_t sharedBytes,
        Handle stream, void** arguments) {
        check(launchKernel_(function, grid[0], grid[1], grid[2], threads, 1, 1, sharedBytes, stream, arguments, nullptr),
            "cuLaunchKernel");
    }

private:
    Driver() {
        constexpr char const* kLibrary = "libcuda.so.1";
        library_ = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
        if (library_ == nullptr) throw std::runtime_error(std::string("no CUDA driver: ") + dlerror());
        find(currentContext_, "cuCtxGetCurrent");
        find(loadModule_, "cuModuleLoadData");
        find(getFunction_, "cuModuleGetFunction");
        find(launchKernel_, "cuLaunchKernel");
        find(errorName_, "cuGetErrorName");
        contextNumber_ = reinterpret_cast<decltype(contextNumber_)>(dlsym(library_, "cuCtxGetId"));  // CUDA 12.0 and later
    }

    template <class Function>
    void find(Function& function, char const* name) {
        function = reinterpret_cast<Function>(dlsym(library_, name));
        if (function == nullptr) throw std::runtime_error(std::string("the CUDA driver has no ") + name);
    }

    void check(Result result, std::string const& what) const {
        if (result == 0) return;
        char const* name = nullptr;
        errorName_(result, &name);
        throw std::runtime_error(what + ": " + (name == nullptr ? "error " + std::to_string(result) : name));
    }

    Handle library_ = nullptr;
    Result (*currentContext_)(Handle*) = nullptr;
    Result (*contextNumber_)(Handle, std::uint64_t*) = nullptr;
    Result (*loadModule_)(Handle*, void const*) = nullptr;
    Result (*getFunction_)(Handle*, Handle, char const*) = nullptr;
    Result (*launchKernel_)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**,
        void**) = nullptr;
    Result (*errorName_)(Result, char const**) = nullptr;
    std::mutex mutex_;
    std::map<std::pair<std::uint64_t, std::string>, Handle> functions_;
};

}  // namespace edgesmith
