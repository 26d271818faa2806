// A libcuda.so.1 without a GPU: it translates nothing and launches nothing, it writes down what it was asked. Like the real
// driver it reads as many arguments as the PTX declares. What host.cpp asks of it, the real one does not have.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Module {
    std::string ptx;
};
struct Function {
    std::string entry;
    std::vector<int> argumentBytes;  // 8 a pointer, 4 an int32
};

std::mutex mutex;
std::vector<std::unique_ptr<Module>> modules;
std::vector<std::unique_ptr<Function>> functions;
std::string launches;  // JSON objects with commas between
int loadCount = 0;
int launchCount = 0;
thread_local std::uintptr_t context = 0x100;

constexpr int kInvalidContext = 201, kUnsupportedPtx = 222, kNotFound = 500, kLaunchFailed = 719;

int asked(char const* name, int result) {
    char const* const failing = std::getenv("FAKE_CUDA_FAIL");
    return failing != nullptr && std::strcmp(failing, name) == 0 ? result : 0;
}

}  // namespace

extern "C" {

int cuCtxGetCurrent(void** current) {
    *current = reinterpret_cast<void*>(context);
    return asked("cuCtxGetCurrent", kInvalidContext);
}

int cuCtxGetId(void* of, std::uint64_t* number) {
    *number = reinterpret_cast<std::uintptr_t>(of) + 1;
    return 0;
}

int cuModuleLoadData(void** module, void const* image) {
    std::lock_guard<std::mutex> const lock(mutex);
    if (int const result = asked("cuModuleLoadData", kUnsupportedPtx)) return result;
    ++loadCount;
    modules.push_back(std::make_unique<Module>(Module{static_cast<char const*>(image)}));
    *module = modules.back().get();
    return 0;
}

int cuModuleGetFunction(void** function, void* module, char const* name) {
    std::lock_guard<std::mutex> const lock(mutex);
    std::string const& ptx = static_cast<Module*>(module)->ptx;
    auto const at = ptx.find(".entry " + std::string(name) + "(");
    if (at == std::string::npos) return kNotFound;
    Function made{name, {}};
    std::istringstream words(ptx.substr(at, ptx.find(')', at) - at));
    for (std::string word; words >> word;) {
        if (word == ".u64" || word == ".b64") made.argumentBytes.push_back(8);
        if (word == ".u32" || word == ".b32") made.argumentBytes.push_back(4);
    }
    functions.push_back(std::make_unique<Function>(made));
    *function = functions.back().get();
    return 0;
}

int cuLaunchKernel(void* function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
    unsigned blockZ, unsigned sharedBytes, void* stream, void** arguments, void** extra) {
    std::lock_guard<std::mutex> const lock(mutex);
    if (int const result = asked("cuLaunchKernel", kLaunchFailed)) return result;
    auto const& known = *static_cast<Function*>(function);
    std::ostringstream text;
    text << (launches.empty() ? "" : ", ") << "{\"entry\": \"" << known.entry << "\", \"grid\": [" << gridX << ", " << gridY
         << ", " << gridZ << "], \"block\": [" << blockX << ", " << blockY << ", " << blockZ << "], \"shared\": " << sharedBytes
         << ", \"stream\": " << reinterpret_cast<std::uintptr_t>(stream) << ", \"extra\": " << (extra != nullptr)
         << ", \"context\": " << context << ", \"arguments\": [";
    for (std::size_t i = 0; i < known.argumentBytes.size(); ++i) {
        std::int64_t value = 0;
        if (known.argumentBytes[i] == 8) {
            std::memcpy(&value, arguments[i], 8);
        } else {
            std::int32_t narrow = 0;
            std::memcpy(&narrow, arguments[i], 4);
            value = narrow;
        }
        text << (i == 0 ? "" : ", ") << value;
    }
    ++launchCount;
    launches += text.str() + "]}";
    return 0;
}

int cuGetErrorName(int result, char const** name) {
    static std::map<int, char const*> const names{{kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
        {kUnsupportedPtx, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"}, {kNotFound, "CUDA_ERROR_NOT_FOUND"},
        {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"}};
    auto const found = names.find(result);
    if (found == names.end()) return 1;
    *name = found->second;
    return 0;
}

// ---- for host.cpp
void fake_cuda_set_context(std::uintptr_t number) { context = number; }

// Launches since the last call, as JSON objects with commas between; `counts` gets launches and loads of all time.
char const* fake_cuda_take(int counts[2]) {
    std::lock_guard<std::mutex> const lock(mutex);
    static std::string taken;
    taken = std::move(launches);
    launches.clear();
    counts[0] = launchCount;
    counts[1] = loadCount;
    return taken.c_str();
}

}  // extern "C"
